//! Checks that many kinds share, as methods of [`At`]: names, ports, enumerations, quantities, selectors.
//! Wording follows `k8s.io/apimachinery/pkg/util/validation` and `k8s.io/kubernetes/pkg/apis/core/validation`.

use crate::at::At;
use base::{FieldErrors, names, quantity::Quantity};
use schema::Context;
use std::net::IpAddr;
use value::Value;

pub const IMMUTABLE: &str = "field is immutable";
pub const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const NEGATIVE: &str = "must be greater than or equal to 0";

impl At<'_> {
    pub fn dns_label(&self, errors: &mut FieldErrors) {
        self.shape(errors, names::label(self.str()));
    }
    pub fn dns_subdomain(&self, errors: &mut FieldErrors) {
        self.shape(errors, names::subdomain(self.str()));
    }
    /// `example.com/name`: label and annotation keys, finalizers, resource names.
    pub fn qualified_name(&self, errors: &mut FieldErrors) {
        self.shape(errors, names::qualified_name(self.str()));
    }
    pub fn label_value(&self, errors: &mut FieldErrors) {
        self.shape(errors, names::label_value(self.str()));
    }
    /// A map of labels; its keys are reported at the map, as upstream does.
    pub fn labels(&self, errors: &mut FieldErrors) {
        for (key, value) in self.entries() {
            self.shape_as(errors, key, names::qualified_name(key));
            self.shape_as(errors, value.str(), names::label_value(value.str()));
        }
    }
    /// A map of annotations.
    pub fn annotations(&self, errors: &mut FieldErrors) {
        for (key, _) in self.entries() {
            self.shape_as(errors, key, names::qualified_name(&key.to_lowercase()));
        }
    }

    /// `Required value` when empty, `Unsupported value` when not listed.
    pub fn one_of(&self, errors: &mut FieldErrors, supported: &[&str]) {
        if self.need(errors) {
            self.one_of_if_set(errors, supported);
        }
    }
    /// `Unsupported value` when present and not listed.
    pub fn one_of_if_set(&self, errors: &mut FieldErrors, supported: &[&str]) {
        if self.is_set() && !supported.contains(&self.str()) {
            self.unsupported(errors, supported);
        }
    }
    /// `Unsupported value` when not listed, also for nothing.
    pub fn one_of_or_empty(&self, errors: &mut FieldErrors, supported: &[&str]) {
        if !supported.contains(&self.str()) {
            self.unsupported(errors, supported);
        }
    }
    pub fn non_negative(&self, errors: &mut FieldErrors) {
        if self.int() < 0 {
            self.invalid_int(errors, NEGATIVE);
        }
    }
    /// A number between two bounds; nothing counts as 0.
    pub fn range(&self, errors: &mut FieldErrors, low: i64, high: i64) {
        if let Err(message) = names::in_range(self.int(), low, high) {
            self.invalid_int(errors, message);
        }
    }
    pub fn port(&self, errors: &mut FieldErrors) {
        self.range(errors, 1, 65535);
    }
    pub fn port_name(&self, errors: &mut FieldErrors) {
        for fault in names::port_name_faults(self.str()) {
            self.shape(errors, Err(fault));
        }
    }
    pub fn port_number_or_name(&self, errors: &mut FieldErrors) {
        match self.value {
            Value::String(_) => self.port_name(errors),
            _ => self.port(errors),
        }
    }
    /// `0644` and the like.
    pub fn file_mode(&self, errors: &mut FieldErrors) {
        if !(0..=0o777).contains(&self.int()) {
            self.invalid_int(errors, FILE_MODE);
        }
    }
    pub fn ip(&self, errors: &mut FieldErrors) -> Option<IpAddr> {
        self.shape(errors, names::ip(self.str()));
        self.str().parse().ok()
    }
    /// An address that an endpoint may have: not this host's own, not link-local, not unspecified.
    pub fn endpoint_ip(&self, errors: &mut FieldErrors) {
        let Ok(ip) = self.str().parse::<IpAddr>() else { return };
        let (v4_link_local, v4_multicast) = match ip {
            IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
            IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02),
        };
        if ip.is_unspecified() {
            self.invalid(errors, format!("may not be unspecified ({})", if ip.is_ipv4() { "0.0.0.0" } else { "::" }));
        }
        if ip.is_loopback() {
            self.invalid(errors, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
        }
        if v4_link_local {
            self.invalid(errors, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
        }
        if v4_multicast {
            self.invalid(errors, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
        }
    }
    /// A count, or a percentage of a whole.
    pub fn int_or_percent(&self, errors: &mut FieldErrors) {
        match self.value {
            Value::String(percent) => self.shape(errors, names::percent(percent)),
            _ => self.non_negative(errors),
        }
    }
    /// A key of a ConfigMap or Secret.
    pub fn config_key(&self, errors: &mut FieldErrors) {
        self.shape(errors, names::config_map_key(self.str()));
    }
    /// Reports that the value differs from the old one.
    pub fn immutable(&self, errors: &mut FieldErrors, old: &Value) {
        if !same(self.value, old) {
            self.invalid(errors, IMMUTABLE);
        }
    }
    /// A quantity that stands here, if it is one; reports what is none, or less than zero.
    pub fn quantity(&self, errors: &mut FieldErrors) -> Option<Quantity> {
        let parsed = quantity(self.value);
        match &parsed {
            None => self.invalid(errors, "must be a valid resource quantity"),
            Some(quantity) if quantity.is_negative() => self.invalid(errors, NEGATIVE),
            Some(_) => {}
        }
        parsed
    }

    /// A `metav1.LabelSelector`.
    pub fn label_selector(&self, errors: &mut FieldErrors) {
        self.get("matchLabels").labels(errors);
        for expression in self.get("matchExpressions").items() {
            let values = expression.get("values");
            match expression.get("operator").str() {
                "In" | "NotIn" if values.is_empty() => {
                    values.required(errors, "must be specified when `operator` is 'In' or 'NotIn'");
                }
                "Exists" | "DoesNotExist" if !values.is_empty() => {
                    values.forbidden(errors, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
                }
                "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
                _ => expression.get("operator").invalid(errors, "not a valid selector operator"),
            }
            expression.get("key").qualified_name(errors);
            for value in values.items() {
                value.label_value(errors);
            }
        }
    }
}

/// The warning about a name that becomes part of host names, at creation.
pub fn hostname_warning(cx: &Context, obj: &Value, old: Option<&Value>) -> Option<String> {
    let why = names::label(obj.name()).err().filter(|_| old.is_none() && cx.subresource.is_none())?;
    let text =
        "this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended";
    Some(format!("metadata.name: {text}: [{why}]"))
}

/// The number, with or without a percent sign; 0 for anything else.
pub fn amount(value: &Value) -> i64 {
    let percent = || value.as_str()?.strip_suffix('%')?.parse().ok();
    value.as_i64().or_else(percent).unwrap_or(0)
}

/// The quantity that a string or number stands for.
pub fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(s) => Quantity::parse(s.trim()).ok(),
        Value::Int(_) | Value::Float(_) => Quantity::parse(&value.to_string()).ok(),
        _ => None,
    }
}

/// True where a client that knows the types would see no difference: null, `""` and `[]` are the same as nothing.
pub fn same(a: &Value, b: &Value) -> bool {
    fn nothing(v: &Value) -> bool {
        match v {
            Value::Null => true,
            Value::String(s) => s.is_empty(),
            Value::Array(a) => a.is_empty(),
            _ => false,
        }
    }
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let null = Value::Null;
            x.iter().all(|(key, value)| same(value, y.get(key).unwrap_or(&null)))
                && y.iter().all(|(key, value)| x.contains_key(key) || nothing(value))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        _ => a == b || nothing(a) && nothing(b),
    }
}

/// True where a `metav1.LabelSelector` selects these labels. An empty selector selects everything.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    let pairs = selector.members_at(&["matchLabels"]).all(|(key, want)| labels.get(key) == Some(want));
    pairs
        && selector.items_at(&["matchExpressions"]).iter().all(|expression| {
            let label = labels.get(expression.str_at(&["key"]));
            let listed = || label.is_some_and(|label| expression.items_at(&["values"]).contains(label));
            match expression.str_at(&["operator"]) {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => label.is_some(),
                "DoesNotExist" => label.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn nothing_has_many_forms() {
        for (a, b, want) in [
            (value!({"a": null, "b": 1}), value!({"b": 1, "c": []}), true),
            (value!({"a": ""}), value!({}), true),
            (value!({"a": {}}), value!({}), false),
            (value!({"a": false}), value!({}), false),
            (value!([{"a": []}]), value!([{}]), true),
            (value!([1]), value!([1, 2]), false),
        ] {
            assert_eq!(same(&a, &b), want, "{a} {b}");
            assert_eq!(same(&b, &a), want, "{b} {a}");
        }
    }

    #[test]
    fn selectors_select() {
        let labels = value!({"app": "web", "tier": "front"});
        for (selector, want) in [
            (value!({}), true),
            (value!({"matchLabels": {"app": "web"}}), true),
            (value!({"matchLabels": {"app": "db"}}), false),
            (value!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["front", "x"]}]}), true),
            (value!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["front"]}]}), false),
            (value!({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["front"]}]}), true),
            (value!({"matchExpressions": [{"key": "none", "operator": "Exists"}]}), false),
            (value!({"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]}), true),
        ] {
            assert_eq!(selects(&selector, &labels), want, "{selector}");
        }
    }
}
