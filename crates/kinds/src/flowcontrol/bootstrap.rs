//! The flow schemas and priority levels of every cluster.
//!
//! Mandatory ones are always as they stand here: a client may not change them, and the server repairs them. Suggested
//! ones are kept up as long as nobody has taken them over (annotation
//! `apf.kubernetes.io/autoupdate-spec`, KEP-1040). Source: `k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap`.

use schema::{Initial, Keep};
use value::{Value, value};

/// A priority level: shares, percent that may be lent, and queues, hand size and length, or none: rejected at once.
type Level = (&'static str, Keep, i64, i64, Option<(i64, i64, i64)>);

const LEVELS: [Level; 7] = [
    ("catch-all", Keep::Mandatory, 5, 0, None),
    ("system", Keep::Suggested, 30, 33, Some((64, 6, 50))),
    ("node-high", Keep::Suggested, 40, 25, Some((64, 6, 50))),
    ("leader-election", Keep::Suggested, 10, 0, Some((16, 4, 50))),
    ("workload-high", Keep::Suggested, 40, 50, Some((128, 6, 50))),
    ("workload-low", Keep::Suggested, 100, 90, Some((128, 6, 50))),
    ("global-default", Keep::Suggested, 20, 50, Some((128, 6, 50))),
];

/// Whom a schema is about.
#[derive(Debug, Clone, Copy)]
enum Who {
    Group(&'static str),
    User(&'static str),
    /// Every service account of `kube-system`.
    System,
}

/// What of their requests.
#[derive(Debug, Clone, Copy)]
enum What {
    Everything,
    /// GET of these paths.
    Paths(&'static [&'static str]),
    /// Verbs, group, resources, and whether those without a namespace count.
    Resources(&'static [Rule]),
}

type Rule = (&'static [&'static str], &'static str, &'static [&'static str], bool);

struct Schema {
    name: &'static str,
    keep: Keep,
    level: &'static str,
    precedence: i64,
    /// What tells one flow from another: `ByUser`, `ByNamespace`, nothing.
    by: &'static str,
    who: &'static [Who],
    what: What,
}

const EVERYBODY: &[Who] = &[Who::Group("system:unauthenticated"), Who::Group("system:authenticated")];
const NODES: &[Who] = &[Who::Group("system:nodes")];
const MANAGER: Who = Who::User("system:kube-controller-manager");
const SCHEDULER: Who = Who::User("system:kube-scheduler");
const LEASES: &str = "coordination.k8s.io";

#[rustfmt::skip]
const SCHEMAS: [Schema; 11] = [
    Schema { name: "exempt", keep: Keep::Mandatory, level: "exempt", precedence: 1, by: "",
        who: &[Who::Group("system:masters")], what: What::Everything },
    Schema { name: "catch-all", keep: Keep::Mandatory, level: "catch-all", precedence: 10_000, by: "ByUser",
        who: EVERYBODY, what: What::Everything },
    Schema { name: "probes", keep: Keep::Suggested, level: "exempt", precedence: 2, by: "",
        who: EVERYBODY, what: What::Paths(&["/healthz", "/readyz", "/livez"]) },
    Schema { name: "system-leader-election", keep: Keep::Suggested, level: "leader-election", precedence: 100, by: "ByUser",
        who: &[MANAGER, SCHEDULER, Who::System],
        what: What::Resources(&[(&["get", "create", "update"], LEASES, &["leases"], false)]) },
    Schema { name: "system-node-high", keep: Keep::Suggested, level: "node-high", precedence: 400, by: "ByUser",
        who: NODES,
        what: What::Resources(&[(&["*"], "", &["nodes", "nodes/status"], true), (&["*"], LEASES, &["leases"], false)]) },
    Schema { name: "system-nodes", keep: Keep::Suggested, level: "system", precedence: 500, by: "ByUser",
        who: NODES, what: What::Everything },
    Schema { name: "kube-controller-manager", keep: Keep::Suggested, level: "workload-high", precedence: 800, by: "ByNamespace",
        who: &[MANAGER], what: What::Everything },
    Schema { name: "kube-scheduler", keep: Keep::Suggested, level: "workload-high", precedence: 800, by: "ByNamespace",
        who: &[SCHEDULER], what: What::Everything },
    Schema { name: "kube-system-service-accounts", keep: Keep::Suggested, level: "workload-high", precedence: 900, by: "ByNamespace",
        who: &[Who::System], what: What::Everything },
    Schema { name: "service-accounts", keep: Keep::Suggested, level: "workload-low", precedence: 9000, by: "ByUser",
        who: &[Who::Group("system:serviceaccounts")], what: What::Everything },
    Schema { name: "global-default", keep: Keep::Suggested, level: "global-default", precedence: 9900, by: "ByUser",
        who: EVERYBODY, what: What::Everything },
];

/// Every priority level that a cluster begins with.
pub fn levels() -> Vec<Initial> {
    let exempt = value!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let limited = LEVELS.map(|(name, keep, shares, lendable, queues)| {
        let response = match queues {
            None => value!({"type": "Reject"}),
            Some((queues, hand, length)) => {
                value!({"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}})
            }
        };
        let limited =
            value!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
        initial(name, keep, value!({"type": "Limited", "limited": limited}))
    });
    // Its shares are the administrator's; nothing else of it can be changed.
    std::iter::once(initial("exempt", Keep::Once, exempt)).chain(limited).collect()
}

/// Every flow schema that a cluster begins with.
pub fn schemas() -> Vec<Initial> {
    SCHEMAS.iter().map(|schema| initial(schema.name, schema.keep, spec(schema))).collect()
}

/// The spec that a mandatory object of that name must have.
pub fn mandatory(objects: Vec<Initial>, name: &str) -> Option<Value> {
    let own = |initial: &Initial| initial.keep == Keep::Mandatory && initial.object.name() == name;
    objects.into_iter().find(own).map(|initial| initial.object.at(&["spec"]).clone())
}

fn initial(name: &str, keep: Keep, spec: Value) -> Initial {
    let metadata = value!({"name": name, "annotations": {(schema::AUTO_UPDATE): "true"}});
    Initial { object: value!({"metadata": metadata, "spec": spec}), keep }
}

fn spec(schema: &Schema) -> Value {
    let subjects: Vec<Value> = schema.who.iter().map(|who| subject(*who)).collect();
    let mut rules = value!({"subjects": subjects});
    match schema.what {
        What::Everything => {
            rules.set(&["resourceRules"], value!([(resources(&(&["*"], "*", &["*"], true)))]));
            rules.set(&["nonResourceRules"], value!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]));
        }
        What::Paths(paths) => {
            rules.set(&["nonResourceRules"], value!([{"verbs": ["get"], "nonResourceURLs": paths}]));
        }
        What::Resources(list) => rules.set(&["resourceRules"], list.iter().map(resources).collect::<Vec<_>>()),
    }
    let mut spec = value!({
        "priorityLevelConfiguration": {"name": (schema.level)}, "matchingPrecedence": (schema.precedence), "rules": [rules],
    });
    if !schema.by.is_empty() {
        spec.set(&["distinguisherMethod", "type"], schema.by);
    }
    spec
}

fn resources((verbs, group, resources, cluster): &Rule) -> Value {
    let mut rule = value!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if *cluster {
        rule.set(&["clusterScope"], true);
    }
    rule
}

fn subject(who: Who) -> Value {
    match who {
        Who::Group(name) => value!({"kind": "Group", "group": {"name": name}}),
        Who::User(name) => value!({"kind": "User", "user": {"name": name}}),
        Who::System => value!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}}),
    }
}
