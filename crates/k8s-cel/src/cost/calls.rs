//! The bounds of single functions.

use super::{CHECK, Estimate, LIST, OBJECT, PATTERN, WALK, actual::is_comparison, estimate::Coster, estimate::Sized};
use crate::{
    syntax::ast::{Expr, Kind, Literal},
    types::{Type, library},
};

/// A cost without that of the arguments, and the size of the result.
type Bound = (Estimate, Option<Estimate>);

impl<'e> Coster<'e> {
    /// The cost of a call by one overload, arguments included, and the size of its result.
    pub(super) fn function(
        &mut self,
        e: &Expr,
        function: &str,
        overload: &str,
        target: Option<&Sized<'e>>,
        args: &[Sized<'e>],
        costs: &[Estimate],
    ) -> Bound {
        let sum = costs.iter().fold(Estimate::default(), |sum, cost| sum.plus(*cost));
        let own = self
            .lists(overload, target, args)
            .or_else(|| self.kubernetes(function, overload, args))
            .or_else(|| self.extended(function, target, args))
            .or_else(|| self.text_functions(overload, target, args));
        if let Some((cost, size)) = own {
            return (cost.plus(sum), size);
        }
        match (overload, args) {
            ("logical_or" | "logical_and", [_, _]) => {
                (Estimate { min: costs[0].min, max: costs[0].plus(costs[1]).max }, None)
            }
            ("conditional", [_, yes, no]) => {
                let size = known(yes).union(known(no));
                if let (Some(yes), Some(no)) = (yes.expr, no.expr)
                    && let (Some(yes), Some(no)) = (self.entries_of(yes), self.entries_of(no))
                {
                    self.entries.insert(e.id, yes.union(no));
                }
                (costs[0].plus(costs[1].union(costs[2])), Some(size))
            }
            ("add_string" | "add_bytes" | "add_list", [a, b]) => {
                let size = known(a).plus(known(b));
                if let (Some(a), Some(b)) = (a.expr, b.expr)
                    && let (Some(a), Some(b)) = (self.entries_of(a), self.entries_of(b))
                {
                    self.entries.insert(e.id, a.union(b));
                }
                let cost = if overload == "add_list" { Estimate::fixed(1) } else { size.factor(WALK) };
                (cost.plus(sum), Some(size))
            }
            _ => (Estimate::fixed(1).plus(sum), None),
        }
    }

    /// A size, asked of the schema where the tree does not tell.
    fn size(&self, node: &Sized<'e>) -> Estimate {
        node.computed.or_else(|| self.declared(&node.path)).unwrap_or(Estimate::UNKNOWN)
    }

    /// The elements of a list.
    fn elements(&self, list: &Sized<'e>) -> Option<Sized<'e>> {
        let ty = list.ty.parameters().first().map(|ty| (*ty).clone())?;
        let mut path = list.path.clone();
        if !path.is_empty() {
            path.push("@items".into());
        }
        Some(Sized { expr: None, ty, path, computed: None })
    }

    /// The extended list functions and sets, by overload.
    fn lists(&self, overload: &str, target: Option<&Sized<'e>>, args: &[Sized<'e>]) -> Option<Bound> {
        let makes =
            |factor: f64, size: Estimate| Some((size.factor(factor).plus(Estimate::fixed(1 + LIST)), Some(size)));
        let square = |node: &Sized<'e>, text: bool| {
            let size = self.size(node);
            makes(if text { 2.0 + WALK } else { 2.0 }, size.times(size))
        };
        match (overload, target, args) {
            ("list_slice", Some(list), [start, end]) => {
                let end = literal(end, self.size(list).max);
                makes(1.0, Estimate::fixed(end.wrapping_sub(literal(start, 0))))
            }
            ("lists_range", None, [n]) => makes(1.0, Estimate::fixed(literal(n, u64::MAX))),
            ("list_reverse", Some(list), []) => makes(1.0, self.size(list)),
            ("list_flatten", Some(list), []) => makes(1.0, self.size(list)),
            ("list_flatten_int", Some(list), [depth]) => makes(literal(depth, u64::MAX) as f64, self.size(list)),
            ("list_distinct", Some(list), []) => square(list, false),
            (id, Some(list), []) if id.ends_with("_sort") => square(list, is_text(id)),
            (id, Some(_), [keys]) if id.ends_with("_sortByAssociatedKeys") => square(keys, is_text(id)),
            ("list_sets_contains_list" | "list_sets_intersects_list", None, [a, b]) => {
                Some((self.size(a).times(self.size(b)).factor(1.0).plus(Estimate::fixed(1)), None))
            }
            ("list_sets_equivalent_list", None, [a, b]) => {
                Some((self.size(a).times(self.size(b)).factor(2.0).plus(Estimate::fixed(1)), None))
            }
            _ => None,
        }
    }

    /// Kubernetes' own libraries, by name: a function of the same name in another library counts the same.
    fn kubernetes(&self, function: &str, overload: &str, args: &[Sized<'e>]) -> Option<Bound> {
        let one = Some((Estimate::fixed(1), None));
        let walk = |node: &Sized<'e>, factor: f64| Some((self.size(node).factor(factor), None));
        match (function, args) {
            ("check", ..) => Some((Estimate::fixed(CHECK), None)),
            (
                "serviceAccount"
                | "path"
                | "group"
                | "resource"
                | "subresource"
                | "namespace"
                | "name"
                | "allowed"
                | "reason"
                | "error"
                | "errored"
                | "masked"
                | "prefixLength"
                | "family"
                | "isUnspecified"
                | "isLoopback"
                | "isLinkLocalMulticast"
                | "isLinkLocalUnicast"
                | "isGlobalUnicast"
                | "format.named"
                | "sign"
                | "asInteger"
                | "isInteger"
                | "asApproximateFloat"
                | "isGreaterThan"
                | "isLessThan"
                | "compareTo"
                | "add"
                | "sub"
                | "major"
                | "minor"
                | "patch"
                | "getScheme"
                | "getHostname"
                | "getHost"
                | "getPort"
                | "getEscapedPath"
                | "getQuery",
                ..,
            ) => one,
            ("fieldSelector" | "labelSelector", [selector]) => {
                let size = self.size(selector);
                let requirements = size.factor(0.5).factor((LIST + OBJECT) as f64);
                Some((Estimate::fixed(LIST).plus(size.factor(WALK)).plus(requirements), None))
            }
            ("ip", ..) if overload == "cidr_ip" => one,
            ("ip.isCanonical", [text, ..]) => walk(text, 2.0 * WALK),
            ("cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver", [text, ..]) => {
                walk(text, WALK)
            }
            ("containsIP" | "containsCIDR", [other, ..]) => {
                let address = Estimate { min: 4, max: 16 };
                let mut cost = address.plus(address).factor(WALK);
                if function == "containsCIDR" {
                    cost = cost.plus(address.factor(WALK)).plus(Estimate::fixed(1));
                }
                if matches!(overload, "cidr_contains_ip_string" | "cidr_contains_cidr_string") {
                    cost = cost.plus(self.size(other).factor(WALK));
                }
                Some((cost, None))
            }
            ("validate", [text, ..]) => Some((self.size(text).factor(WALK).factor(128.0 * PATTERN), None)),
            ("_==_", [a, b]) if a.ty == b.ty => match &a.ty {
                ty if *ty == library::FORMAT => Some((Estimate { min: 1, max: 64 }.factor(WALK), None)),
                ty if *ty == library::URL => {
                    // The reference takes both sizes from the right side.
                    let max = b.computed.map_or(1, |size| size.max);
                    Some((Estimate { min: 1, max }.factor(WALK), None))
                }
                Type::Library { .. } if a.ty != library::JSON_PATCH => one,
                _ => None,
            },
            _ => None,
        }
    }

    /// Functions of texts and lists that Kubernetes counts itself.
    fn extended(&self, function: &str, target: Option<&Sized<'e>>, args: &[Sized<'e>]) -> Option<Bound> {
        match (function, target, args) {
            ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(list), _) => {
                let size = self.size(list);
                match self.elements(list) {
                    Some(element) => {
                        let mut each = Estimate::fixed(1);
                        if matches!(element.ty, Type::String | Type::Bytes) {
                            each = each.plus(self.size(&element).factor(WALK));
                            return Some((size.times(each), None));
                        }
                        Some((size.times(each), None))
                    }
                    None => Some((size.factor(WALK), None)),
                }
            }
            ("url" | "jsonpatch.escapeKey", _, [text]) => Some((self.size(text).factor(WALK), Some(self.size(text)))),
            ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(text), _) => {
                Some((self.size(text).factor(WALK), Some(self.size(text))))
            }
            ("replace", Some(text), [from, to, ..]) => {
                let size = self.size(text);
                Some((size.factor(2.0 * WALK), Some(replaced(size, self.size(from), self.size(to)))))
            }
            ("split", Some(text), rest) => {
                let size = self.size(text);
                let max = rest.get(1).map_or(size.max, |limit| literal(limit, size.max));
                Some((size.factor(2.0 * WALK), Some(Estimate { min: 0, max })))
            }
            ("join", Some(list), rest) => {
                let count = self.size(list);
                let mut size = match self.elements(list) {
                    Some(element) => count.times(self.size(&element)),
                    None => Estimate::default(),
                };
                if let Some(separator) = rest.first() {
                    let gaps = Estimate { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) };
                    size = size.plus(self.size(separator).times(gaps));
                }
                Some((size.factor(WALK), Some(size)))
            }
            ("find" | "findAll", Some(text), [pattern, ..]) => {
                let size = self.size(text);
                let cost = size.plus(Estimate::fixed(1)).factor(WALK).times(self.size(pattern).factor(PATTERN));
                Some((cost, Some(Estimate { min: 0, max: size.max })))
            }
            _ => None,
        }
    }

    /// Texts and comparisons of the language itself, by overload. Only what the tree tells counts, not the schema's
    /// bound a second time.
    fn text_functions(&self, overload: &str, target: Option<&Sized<'e>>, args: &[Sized<'e>]) -> Option<Bound> {
        match (overload, target, args) {
            ("string_format", Some(text), _) => Some((known(text).factor(WALK), None)),
            ("string_to_bytes", _, [text]) => {
                let size = known(text);
                let max = size.max.wrapping_mul(4);
                Some((size.factor(WALK), Some(Estimate { min: size.min, max })))
            }
            ("bytes_to_string", _, [bytes]) => {
                let size = known(bytes);
                Some((size.factor(WALK), Some(Estimate { min: size.min / 4, max: size.max })))
            }
            ("strings_quote", _, [text]) => {
                let size = known(text);
                let max = size.max.wrapping_mul(2).wrapping_add(2);
                Some((size.factor(WALK), Some(Estimate { min: size.min + 2, max })))
            }
            ("starts_with_string" | "ends_with_string", _, [part]) => Some((known(part).factor(WALK), None)),
            ("in_list", _, [_, list]) => Some((known(list).factor(1.0), None)),
            ("matches_string", Some(text), [pattern]) => {
                let walk = known(text).plus(Estimate::fixed(1)).factor(WALK);
                Some((walk.times(known(pattern).factor(PATTERN)), None))
            }
            ("contains_string", Some(text), [part]) => {
                Some((known(text).factor(WALK).times(known(part).factor(WALK)), None))
            }
            (id, _, [a, b]) if is_comparison(id) || matches!(id, "equals" | "not_equals") => {
                let max = known(a).max.min(known(b).max);
                Some((Estimate { min: u64::from(max > 0), max }.factor(WALK), None))
            }
            _ => None,
        }
    }
}

fn known(node: &Sized<'_>) -> Estimate {
    node.computed.unwrap_or(Estimate::UNKNOWN)
}

/// The value of an integer literal.
fn literal(node: &Sized<'_>, default: u64) -> u64 {
    match node.expr.map(|e| &e.kind) {
        Some(Kind::Literal(Literal::Int(n))) => u64::try_from(*n).unwrap_or(0),
        _ => default,
    }
}

fn is_text(overload: &str) -> bool {
    overload.starts_with("list_string_") || overload.starts_with("list_bytes_")
}

/// The size of a text in which one part is replaced by another.
fn replaced(text: Estimate, from: Estimate, to: Estimate) -> Estimate {
    let times = |n: u64, by: u64| (n as f64 / by as f64).ceil() as u64;
    let (most, most_kept) = match from.min {
        0 => (text.max.saturating_add(1), text.max),
        _ if to.max <= from.min => (0, text.max),
        shortest => (times(text.max, shortest), 0),
    };
    let (least, least_kept) = match from.max {
        0 => (text.min.saturating_add(1), text.min),
        _ if from.max <= to.min => (0, text.min),
        longest => (times(text.min, longest), 0),
    };
    Estimate { min: least, max: most }.times(to).plus(Estimate { min: least_kept, max: most_kept })
}
