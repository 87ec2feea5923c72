//! LimitRanger: a namespace's LimitRanges give containers what they did not say, and refuse what is too little, too much
//! or too far apart. Source: upstream's plugin of this name; its sentences are kept.

use crate::{Plugin, Target, plugin::forbid};
use base::{Result, quantity::Quantity};
use quota::{Amounts, pod};
use resource::{Attributes, Call};
use schema::Operation;
use std::sync::Arc;
use value::{Object, Value};

/// Says what was set.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

pub struct LimitRanger;

impl Plugin for LimitRanger {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        match target.operation {
            // Containers of a pod that exists cannot change, but by a resize.
            Operation::Create => target.is("pods", "") || target.is("persistentvolumeclaims", ""),
            Operation::Update => target.is("pods", "resize") || target.is("persistentvolumeclaims", ""),
            _ => false,
        }
    }
    fn mutate(&self, a: &mut Attributes<'_>) -> Result<()> {
        if a.call.kind.plural == "pods" && !is_going(a) {
            for range in ranges(a) {
                give_defaults(&range.value(), &mut a.object);
            }
        }
        Ok(())
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        if is_going(a) {
            return Ok(());
        }
        for range in ranges(a) {
            let found = match a.call.kind.plural.as_str() {
                "pods" => of_pod(&range.value(), &a.object),
                _ => of_claim(&range.value(), &a.object),
            };
            match found.as_slice() {
                [] => {}
                [one] => return Err(forbid(a, one)),
                several => return Err(forbid(a, format!("[{}]", several.join(", ")))),
            }
        }
        Ok(())
    }
}

fn is_going(a: &Attributes<'_>) -> bool {
    a.old.is_some_and(|old| !old.str_at(&["metadata", "deletionTimestamp"]).is_empty())
}

fn ranges(a: &Attributes<'_>) -> Vec<Arc<Object>> {
    a.view.list("", "limitranges", Some(&a.call.namespace))
}

fn limits<'a>(range: &'a Value, of: &'a str) -> impl Iterator<Item = &'a Value> {
    range.items_at(&["spec", "limits"]).iter().filter(move |limit| limit.str_at(&["type"]) == of)
}

fn give_defaults(range: &Value, pod: &mut Value) {
    let (mut requests, mut maxima) = (Value::object(), Value::object());
    for limit in limits(range, "Container") {
        for (into, from) in [(&mut requests, "defaultRequest"), (&mut maxima, "default")] {
            for (name, amount) in limit.members_at(&[from]) {
                into.set(&[name], amount.clone());
            }
        }
    }
    let mut said = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod.array_at_mut(&["spec", list]).into_iter().flatten() {
            for (field, defaults, word) in [("requests", &requests, "request"), ("limits", &maxima, "limit")] {
                let mut set = Vec::new();
                for (name, amount) in defaults.members_at(&[]) {
                    if container.at(&["resources", field]).get(name).is_none() {
                        container.set(&["resources", field, name], amount.clone());
                        set.push(name);
                    }
                }
                if !set.is_empty() {
                    said.push(format!("{} {word} for {what} {}", set.join(", "), container.str_at(&["name"])));
                }
            }
        }
    }
    if !said.is_empty() {
        pod.set(&["metadata", "annotations", ANNOTATION], format!("LimitRanger plugin set: {}", said.join("; ")));
    }
}

fn of_pod(range: &Value, pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for limit in limits(range, "Container") {
        for container in ["containers", "initContainers"].into_iter().flat_map(|list| pod.items_at(&["spec", list])) {
            let of = |list: &str| Amounts::of(container.at(&["resources", list]));
            bounds("Container", limit, &of("requests"), &of("limits"), &mut found);
        }
    }
    for limit in limits(range, "Pod") {
        bounds("Pod", limit, &pod::requests(pod), &pod::limits(pod), &mut found);
    }
    found
}

fn of_claim(range: &Value, claim: &Value) -> Vec<String> {
    let requests = Amounts::of(claim.at(&["spec", "resources", "requests"]));
    let mut found = Vec::new();
    for limit in limits(range, "PersistentVolumeClaim") {
        for (name, least) in Amounts::of(limit.at(&["min"])).iter() {
            found.extend(minimum("PersistentVolumeClaim", name, least, requests.get(name), None));
        }
        for (name, most) in Amounts::of(limit.at(&["max"])).iter() {
            let start = format!("maximum {name} usage per PersistentVolumeClaim is {most}");
            match requests.get(name) {
                None => found.push(format!("{start}.  No request is specified")),
                Some(request) if request > most => found.push(format!("{start}, but request is {request}")),
                Some(_) => {}
            }
        }
    }
    found
}

fn bounds(of: &str, limit: &Value, requests: &Amounts, limits: &Amounts, found: &mut Vec<String>) {
    for (name, least) in Amounts::of(limit.at(&["min"])).iter() {
        found.extend(minimum(of, name, least, requests.get(name), limits.get(name)));
    }
    for (name, most) in Amounts::of(limit.at(&["max"])).iter() {
        found.extend(maximum(of, name, most, requests.get(name), limits.get(name)));
    }
    for (name, most) in Amounts::of(limit.at(&["maxLimitRequestRatio"])).iter() {
        found.extend(ratio(of, name, most, requests.get(name), limits.get(name)));
    }
}

fn minimum(
    of: &str,
    name: &str,
    least: Quantity,
    request: Option<Quantity>,
    limit: Option<Quantity>,
) -> Option<String> {
    let start = format!("minimum {name} usage per {of} is {least}");
    match (request, limit) {
        (None, _) => Some(format!("{start}.  No request is specified")),
        (Some(request), _) if request < least => Some(format!("{start}, but request is {request}")),
        (_, Some(limit)) if limit < least => Some(format!("{start}, but limit is {limit}")),
        _ => None,
    }
}

fn maximum(of: &str, name: &str, most: Quantity, request: Option<Quantity>, limit: Option<Quantity>) -> Option<String> {
    let start = format!("maximum {name} usage per {of} is {most}");
    match (request, limit) {
        (_, None) => Some(format!("{start}.  No limit is specified")),
        (_, Some(limit)) if limit > most => Some(format!("{start}, but limit is {limit}")),
        (Some(request), _) if request > most => Some(format!("{start}, but request is {request}")),
        _ => None,
    }
}

fn ratio(of: &str, name: &str, most: Quantity, request: Option<Quantity>, limit: Option<Quantity>) -> Option<String> {
    let start = format!("{name} max limit to request ratio per {of} is {most}");
    let some = |amount: Option<Quantity>| amount.filter(|a| !a.is_zero());
    let Some(request) = some(request) else {
        return Some(format!("{start}, but no request is specified or request is 0"));
    };
    let Some(limit) = some(limit) else { return Some(format!("{start}, but no limit is specified or limit is 0")) };
    let ratio = limit.nanos() as f64 / request.nanos() as f64;
    (ratio * 1e9 > most.nanos() as f64).then(|| format!("{start}, but provided ratio is {ratio:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check, object_of};
    use value::value;

    fn with(limit: Value) -> Case {
        Case::default()
            .with("limitranges", value!({"metadata": {"name": "r", "namespace": "dev"}, "spec": {"limits": [limit]}}))
    }
    fn pod(resources: Value) -> Value {
        value!({"metadata": {"name": "p", "namespace": "dev"}, "spec": {"containers": [{"name": "c", "resources": resources}]}})
    }

    #[test]
    fn gives_what_was_not_said() {
        let limit = value!({"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"},
            "defaultRequest": {"cpu": "100m"}});
        let given = object_of(&LimitRanger, with(limit).create("", "pods", pod(value!({"limits": {"cpu": "1"}}))));
        let resources = given.items_at(&["spec", "containers"])[0].at(&["resources"]);
        assert_eq!(resources, &value!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}}));
        assert_eq!(
            given.str_at(&["metadata", "annotations", ANNOTATION]),
            "LimitRanger plugin set: cpu request for container c; memory limit for container c"
        );
    }

    #[test]
    fn refuses_what_is_out_of_bounds() {
        let container = |field: &str, bound: Value| {
            let mut limit = value!({"type": "Container"});
            limit.set(&[field], bound);
            limit
        };
        let own = |request: &str, limit: &str| value!({"requests": {"cpu": request}, "limits": {"cpu": limit}});
        for (limit, resources, want) in [
            (container("min", value!({"cpu": "1"})), own("1", "1"), "ok"),
            (
                container("min", value!({"cpu": "1"})),
                own("500m", "1"),
                "403 pods \"p\" is forbidden: minimum cpu usage per Container is 1, but request is 500m",
            ),
            (
                container("min", value!({"cpu": "1"})),
                value!({}),
                "403 pods \"p\" is forbidden: minimum cpu usage per Container is 1.  No request is specified",
            ),
            (
                container("max", value!({"cpu": "1"})),
                own("500m", "2"),
                "403 pods \"p\" is forbidden: maximum cpu usage per Container is 1, but limit is 2",
            ),
            (
                container("maxLimitRequestRatio", value!({"cpu": "2"})),
                own("1", "3"),
                "403 pods \"p\" is forbidden: cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
            ),
            (
                value!({"type": "Pod", "max": {"cpu": "1", "memory": "1Gi"}}),
                own("2", "2"),
                "403 pods \"p\" is forbidden: [maximum cpu usage per Pod is 1, but limit is 2, maximum memory usage per Pod is \
                 1Gi.  No limit is specified]",
            ),
        ] {
            check(&LimitRanger, with(limit).create("", "pods", pod(resources)), want);
        }
        let claim = value!({"metadata": {"name": "d", "namespace": "dev"}, "spec": {"resources": {"requests": {"storage": "5Gi"}}}});
        check(
            &LimitRanger,
            with(value!({"type": "PersistentVolumeClaim", "max": {"storage": "2Gi"}})).create(
                "",
                "persistentvolumeclaims",
                claim,
            ),
            "403 persistentvolumeclaims \"d\" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but \
             request is 5Gi",
        );
    }
}
