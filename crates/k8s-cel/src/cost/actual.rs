//! What a call costs once its arguments are known.
//!
//! The kind of charge is chosen when the expression is planned: by the function's name for Kubernetes' libraries, by the
//! overload for the language's own, and only where the checker found exactly one (a dynamic `+` costs 1 whatever it adds).

use super::{CHECK, LIST, PATTERN, WALK, scaled};
use crate::{
    library::Opaque,
    val::{List, Map, Val},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    One,
    Check,
    Selector,
    /// Reads every element of a list.
    Traversal,
    /// Walks the first argument.
    Walk,
    /// Walks the first argument and makes as much.
    WalkTwice,
    Join,
    /// A pattern over a text.
    Regex,
    Contains,
    Add,
    Compare,
    InList,
    Format,
    ContainsIp {
        text: bool,
    },
    ContainsCidr {
        text: bool,
    },
    /// Makes a list of the result's size.
    MakesList,
    Flatten,
    /// Compares all elements of an argument with each other.
    SelfCompare(usize),
    Sets(u64),
}

impl Charge {
    pub fn of(function: &str, overload: Option<&str>) -> Charge {
        let overload = overload.unwrap_or("");
        match overload {
            "list_slice" | "lists_range" | "list_reverse" => return Charge::MakesList,
            "list_flatten" | "list_flatten_int" => return Charge::Flatten,
            "list_distinct" => return Charge::SelfCompare(0),
            "list_sets_contains_list" | "list_sets_intersects_list" => return Charge::Sets(1),
            "list_sets_equivalent_list" => return Charge::Sets(2),
            _ if function == "sort" && !overload.is_empty() => return Charge::SelfCompare(0),
            _ if function == "@sortByAssociatedKeys" && !overload.is_empty() => return Charge::SelfCompare(1),
            _ => {}
        }
        match function {
            "check" => Charge::Check,
            "fieldSelector" | "labelSelector" => Charge::Selector,
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => Charge::Traversal,
            "url"
            | "lowerAscii"
            | "upperAscii"
            | "substring"
            | "trim"
            | "jsonpatch.escapeKey"
            | "cidr"
            | "isIP"
            | "isCIDR"
            | "quantity"
            | "isQuantity"
            | "semver"
            | "isSemver" => Charge::Walk,
            "ip" if overload != "cidr_ip" => Charge::Walk,
            "replace" | "split" | "ip.isCanonical" => Charge::WalkTwice,
            "join" => Charge::Join,
            "find" | "findAll" => Charge::Regex,
            "containsIP" => Charge::ContainsIp { text: overload == "cidr_contains_ip_string" },
            "containsCIDR" => Charge::ContainsCidr { text: overload == "cidr_contains_cidr_string" },
            "validate" => Charge::Format,
            _ => match overload {
                "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string" | "strings_quote"
                | "string_format" => Charge::Walk,
                "in_list" => Charge::InList,
                "add_string" | "add_bytes" => Charge::Add,
                "matches_string" => Charge::Regex,
                "contains_string" => Charge::Contains,
                _ if is_comparison(overload) => Charge::Compare,
                _ => Charge::One,
            },
        }
    }

    pub fn cost(self, args: &[Val<'_>], result: &Val<'_>) -> u64 {
        let size = |at: usize| args.get(at).map_or(0, Val::size);
        let walk = |n: u64| scaled(n, WALK);
        match self {
            Charge::One => 1,
            Charge::Check => CHECK,
            Charge::Selector => LIST + walk(size(1)) + scaled(scaled(size(1), 0.5), (LIST + super::OBJECT) as f64),
            Charge::Traversal => args.first().map_or(0, traversal),
            Charge::Walk => walk(size(0)),
            Charge::WalkTwice => scaled(size(0), 2.0 * WALK),
            Charge::Join => scaled(result.size(), 2.0 * WALK),
            Charge::Regex => walk(1 + size(0)) * scaled(size(1), PATTERN),
            Charge::Contains => walk(size(0)) * walk(size(1)),
            Charge::Add => walk(size(0) + size(1)),
            Charge::Compare => walk(size(0).min(size(1))),
            Charge::InList => size(1),
            Charge::Format => match args {
                [Val::Opaque(opaque), text] => match &**opaque {
                    Opaque::Format(format) => walk(1 + text.size()) * scaled(format.regex_size, PATTERN),
                    _ => 1,
                },
                _ => 1,
            },
            // Addresses count as one each: they have no size.
            Charge::ContainsIp { text } => walk(size(0) * 2) + if text { walk(size(1)) } else { 0 },
            Charge::ContainsCidr { text } => {
                walk(size(0) * 2) + walk(size(0)) + 1 + if text { walk(size(1)) } else { 0 }
            }
            Charge::MakesList => makes(1.0, result.size()),
            Charge::Flatten => match args.get(1) {
                Some(Val::Int(depth)) => makes(*depth as f64, size(0)),
                _ => makes(1.0, size(0)),
            },
            Charge::SelfCompare(at) => {
                let texts = match args.get(at) {
                    Some(Val::List(list)) => {
                        matches!(list.get(0), Some(Ok(Val::String(_) | Val::Bytes(_))))
                    }
                    _ => false,
                };
                makes(if texts { 2.0 + WALK } else { 2.0 }, size(at) * size(at))
            }
            Charge::Sets(factor) => 1 + size(0) * size(1) * factor,
        }
    }
}

/// `==` and `!=`
pub fn equality(a: &Val<'_>, b: &Val<'_>, negated: bool) -> u64 {
    // What is compared as one value: the reference asks for the left side's type, and only in `==`.
    if !negated && let Val::Opaque(_) = a {
        return 1;
    }
    scaled(whole(a).min(whole(b)), WALK)
}

/// The size, through optionals.
fn whole(val: &Val<'_>) -> u64 {
    match val {
        Val::Optional(Some(inner)) => whole(inner),
        other => other.size(),
    }
}

pub(super) fn is_comparison(overload: &str) -> bool {
    let Some((operator, ty)) = overload.rsplit_once('_') else { return false };
    matches!(operator, "less" | "greater" | "less_equals" | "greater_equals") && matches!(ty, "string" | "bytes")
}

fn makes(factor: f64, size: u64) -> u64 {
    (size as f64 * factor) as u64 + 1 + LIST
}

/// Reading a value through: a tenth of each text, 1 for each other value.
fn traversal(val: &Val<'_>) -> u64 {
    match val {
        Val::String(text) => (text.len() as f64 * WALK) as u64,
        Val::Bytes(bytes) => (bytes.len() as f64 * WALK) as u64,
        Val::List(list) => list_traversal(list),
        Val::Map(map) => map_traversal(map),
        Val::Object(map, _) => map_traversal(&Map::Tree(map, None)),
        _ => 1,
    }
}

fn list_traversal(list: &List<'_>) -> u64 {
    list.iter().map(|item| item.map_or(1, |item| traversal(&item))).sum()
}

fn map_traversal(map: &Map<'_>) -> u64 {
    map.entries().map_or(1, |entries| entries.iter().map(|(key, value)| traversal(key) + traversal(value)).sum())
}
