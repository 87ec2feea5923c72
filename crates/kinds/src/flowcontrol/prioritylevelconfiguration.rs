//! PriorityLevelConfiguration: a share of the server's concurrency, and what becomes of requests beyond it.

use super::{bootstrap, conditions, flow};
use crate::{at::At, rules::same};
use base::FieldErrors;
use schema::{ClusterConfig, Column, Context, Hooks, Initial, Kind};
use value::Value;

const MAX_QUEUES: i64 = 10_000_000;
/// As many bits as the hash has that deals the queues.
const MAX_ENTROPY: i64 = 60;
/// Of a version that is served no more.
const OLD_ANNOTATION: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

pub fn kind() -> Kind {
    flow("PriorityLevelConfiguration")
        .version("v1", "io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration", columns())
        .hooks(PriorityLevelConfiguration)
        .build()
}

fn columns() -> Vec<Column> {
    fn limited(obj: &Value, path: &[&str]) -> Value {
        let full: Vec<&str> = ["spec", "limited"].iter().chain(path).copied().collect();
        match obj.at(&full) {
            Value::Null => "<none>".into(),
            value => value.clone(),
        }
    }
    vec![
        Column::object_name(),
        Column::text("Type", |obj, _| obj.str_at(&["spec", "type"]).into()),
        Column::text("NominalConcurrencyShares", |obj, _| limited(obj, &["nominalConcurrencyShares"])),
        Column::text("Queues", |obj, _| limited(obj, &["limitResponse", "queuing", "queues"])),
        Column::text("HandSize", |obj, _| limited(obj, &["limitResponse", "queuing", "handSize"])),
        Column::text("QueueLengthLimit", |obj, _| limited(obj, &["limitResponse", "queuing", "queueLengthLimit"])),
        Column::age(),
    ]
}

#[derive(Debug)]
struct PriorityLevelConfiguration;

impl Hooks for PriorityLevelConfiguration {
    fn default(&self, obj: &mut Value) {
        let mut fill = |path: &[&str], fields: &[(&str, i64)]| {
            if obj.at(path).as_object().is_none() {
                return;
            }
            for (field, default) in fields {
                let full: Vec<&str> = path.iter().chain([field]).copied().collect();
                obj.set_default(&full, *default);
            }
        };
        fill(&["spec", "exempt"], &[("nominalConcurrencyShares", 0), ("lendablePercent", 0)]);
        fill(&["spec", "limited"], &[("nominalConcurrencyShares", 30), ("lendablePercent", 0)]);
        let queuing = ["spec", "limited", "limitResponse", "queuing"];
        if obj.at(&queuing).as_object().is_some() {
            for (field, default) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
                let field = [queuing.as_slice(), &[field]].concat();
                if obj.at(&field).as_i64().unwrap_or(0) == 0 {
                    obj.set(&field, default);
                }
            }
        }
    }

    fn validate(&self, cx: &Context, obj: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let status = root.get("status");
        if cx.subresource == Some("status") {
            return conditions(status.get("conditions"), errors);
        }
        if !obj.at(&["metadata", "annotations", OLD_ANNOTATION]).is_null() {
            let detail = format!("annotation '{OLD_ANNOTATION}' is forbidden");
            root.get("metadata").get("annotations").forbidden(errors, detail);
        }
        let spec = root.get("spec");
        self::spec(spec, obj.name(), errors);
        if obj.name() == "exempt" {
            self::exempt(spec, errors);
        } else if let Some(wanted) = bootstrap::mandatory(bootstrap::levels(), obj.name())
            && !same(&wanted, spec.value)
        {
            spec.invalid(errors, format!("spec of '{}' must equal the fixed value", obj.name()));
        }
        conditions(status.get("conditions"), errors);
    }

    fn initial(&self, _cluster: &ClusterConfig) -> Vec<Initial> {
        bootstrap::levels()
    }
}

fn spec(spec: At, name: &str, errors: &mut FieldErrors) {
    let (ty, limited, exempt) = (spec.get("type"), spec.get("limited"), spec.get("exempt"));
    if (name == "exempt") != (ty.str() == "Exempt") {
        ty.invalid(errors, "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    match ty.str() {
        "Exempt" => {
            if limited.is_set() {
                limited.forbidden(errors, "must be nil if the type is not Limited");
            }
            if exempt.is_set() {
                shares(exempt, errors);
                lendable(exempt, errors);
            }
        }
        "Limited" => {
            if exempt.is_set() {
                exempt.forbidden(errors, "must be nil if the type is Limited");
            }
            if limited.is_set() {
                shares(limited, errors);
                response(limited.get("limitResponse"), errors);
                lendable(limited, errors);
                let borrowing = limited.get("borrowingLimitPercent");
                if borrowing.int() < 0 {
                    borrowing.invalid_int(errors, "if specified, must be a non-negative integer");
                }
            } else {
                limited.required(errors, "must not be empty when type is Limited");
            }
        }
        _ => ty.unsupported(errors, &["Exempt", "Limited"]),
    }
}

/// The one mandatory level that has something to choose: its shares.
fn exempt(spec: At, errors: &mut FieldErrors) {
    if spec.get("type").str() != "Exempt" || spec.get("limited").is_set() {
        spec.invalid(errors, "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value");
    }
}

fn shares(level: At, errors: &mut FieldErrors) {
    let shares = level.get("nominalConcurrencyShares");
    if shares.int() < 0 {
        shares.invalid_int(errors, "must be a non-negative integer");
    }
}

fn lendable(level: At, errors: &mut FieldErrors) {
    let lendable = level.get("lendablePercent");
    if !(0..=100).contains(&lendable.int()) {
        lendable.invalid_int(errors, "must be between 0 and 100, inclusive");
    }
}

fn response(response: At, errors: &mut FieldErrors) {
    let (ty, queuing) = (response.get("type"), response.get("queuing"));
    match (ty.str(), queuing.is_set()) {
        ("Reject", true) => queuing.forbidden(errors, "must be nil if limited.limitResponse.type is not Limited"),
        ("Reject", false) => {}
        ("Queue", true) => self::queuing(queuing, errors),
        ("Queue", false) => queuing.required(errors, "must not be empty if limited.limitResponse.type is Limited"),
        _ => ty.unsupported(errors, &["Queue", "Reject"]),
    }
}

fn queuing(queuing: At, errors: &mut FieldErrors) {
    let (length, queues, hand) = (queuing.get("queueLengthLimit"), queuing.get("queues"), queuing.get("handSize"));
    if length.int() <= 0 {
        length.invalid_int(errors, "must be positive");
    }
    if queues.int() <= 0 {
        queues.invalid_int(errors, "must be positive");
    } else if queues.int() > MAX_QUEUES {
        queues.invalid_int(errors, format!("must not be greater than {MAX_QUEUES}"));
    }
    let (deck, size) = (queues.int(), hand.int());
    if size <= 0 {
        hand.invalid_int(errors, "must be positive");
    } else if size > deck {
        hand.invalid_int(errors, format!("should not be greater than queues ({deck})"));
    } else if entropy_bits(deck, size) > MAX_ENTROPY {
        let detail = format!(
            "required entropy bits of deckSize {deck} and handSize {size} should not be greater than {MAX_ENTROPY}"
        );
        hand.invalid_int(errors, detail);
    }
}

/// The bits that a hand of that size needs, dealt from so many queues.
fn entropy_bits(deck: i64, hand: i64) -> i64 {
    let number = |n: i64| f64::from(i32::try_from(n).unwrap_or(i32::MAX));
    let bits = (number(deck).log2() * number(hand)).ceil();
    (0..=MAX_ENTROPY).find(|n| number(*n) >= bits).unwrap_or(MAX_ENTROPY + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, defaults};
    use expect_test::expect;
    use value::value;

    fn level(name: &str, spec: Value) -> Value {
        value!({"metadata": {"name": name}, "spec": spec})
    }

    #[test]
    fn what_is_left_out() {
        let spec = value!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}});
        defaults(
            &kind(),
            level("l", spec),
            &["spec", "limited"],
            expect![[
                r#"{"lendablePercent":0,"limitResponse":{"queuing":{"handSize":8,"queueLengthLimit":50,"queues":64},"type":"Queue"},"nominalConcurrencyShares":30}"#
            ]],
        );
        defaults(
            &kind(),
            level("l", value!({"type": "Exempt", "exempt": {}})),
            &["spec", "exempt"],
            expect![[r#"{"lendablePercent":0,"nominalConcurrencyShares":0}"#]],
        );
    }

    #[test]
    fn what_every_cluster_has_is_valid() {
        for initial in bootstrap::levels() {
            create(&kind(), initial.object, expect![""]);
        }
    }

    #[test]
    fn validation() {
        for (name, spec, want) in [
            (
                "l",
                value!({"type": "Exempt"}),
                expect![[r#"spec.type: Invalid value: "Exempt": must be 'Exempt' if and only if `name` is 'exempt'"#]],
            ),
            (
                "l",
                value!({"type": "Limited"}),
                expect!["spec.limited: Required value: must not be empty when type is Limited"],
            ),
            (
                "l",
                value!({"type": "Other"}),
                expect![[r#"spec.type: Unsupported value: "Other": supported values: "Exempt", "Limited""#]],
            ),
            (
                "catch-all",
                value!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}),
                expect![[
                    r#"spec: Invalid value: {"limited":{"lendablePercent":0,"limitResponse":{"type":"Reject"},"nominalConcurrencyShares":30},"type":"Limited"}: spec of 'catch-all' must equal the fixed value"#
                ]],
            ),
            ("exempt", value!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 5}}), expect![""]),
            (
                "exempt",
                value!({"type": "Exempt", "limited": {}, "exempt": {"lendablePercent": 101}}),
                expect![[r#"
                spec.limited: Forbidden: must be nil if the type is not Limited
                spec.exempt.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive
                spec: Invalid value: {"exempt":{"lendablePercent":101,"nominalConcurrencyShares":0},"limited":{"lendablePercent":0,"limitResponse":{"type":""},"nominalConcurrencyShares":30},"type":"Exempt"}: spec of 'exempt' except the 'spec.exempt' field must equal the fixed value"#]],
            ),
            (
                "l",
                value!({"type": "Limited", "exempt": {}, "limited": {"nominalConcurrencyShares": -1, "lendablePercent": -1, "borrowingLimitPercent": -1,
                    "limitResponse": {"type": "Queue", "queuing": {"queues": 128, "handSize": 129, "queueLengthLimit": -1}}}}),
                expect![[r#"
                    spec.exempt: Forbidden: must be nil if the type is Limited
                    spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer
                    spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive
                    spec.limited.limitResponse.queuing.handSize: Invalid value: 129: should not be greater than queues (128)
                    spec.limited.lendablePercent: Invalid value: -1: must be between 0 and 100, inclusive
                    spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer"#]],
            ),
            (
                "l",
                value!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 10_000_000, "handSize": 3}}}}),
                expect![
                    "spec.limited.limitResponse.queuing.handSize: Invalid value: 3: required entropy bits of deckSize 10000000 and handSize 3 should not be greater than 60"
                ],
            ),
            (
                "l",
                value!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject", "queuing": {}}}}),
                expect![
                    "spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited"
                ],
            ),
        ] {
            create(&kind(), level(name, spec), want);
        }
    }

    #[test]
    fn columns() {
        let mut levels = bootstrap::levels().into_iter();
        cells(
            &kind(),
            levels.next().unwrap().object,
            expect!["exempt | Exempt | <none> | <none> | <none> | <none> | 5m"],
        );
        cells(&kind(), levels.nth(1).unwrap().object, expect!["system | Limited | 30 | 64 | 6 | 50 | 5m"]);
    }
}
