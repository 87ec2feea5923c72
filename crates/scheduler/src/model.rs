//! What the scheduler reads of pods and nodes, and nothing more: decoded once when an object arrives.

use base::quantity::Quantity;
use select::LabelSelector;
use std::{collections::BTreeMap, sync::Arc};
use value::{Meta, Object, ObjectKey, Str, Value};

/// Amounts by resource: `cpu` in milli-cores, everything else in its own unit.
pub type Amounts = BTreeMap<Str, i64>;

/// A pod.
#[derive(Debug, Clone)]
pub struct Pod {
    pub key: ObjectKey,
    pub uid: Str,
    /// Its labels.
    pub meta: Meta,
    /// Empty while it waits.
    pub node: Str,
    pub scheduler: Str,
    pub deleting: bool,
    /// Succeeded or failed: it holds nothing any more.
    pub finished: bool,
    pub priority: i64,
    pub requests: Amounts,
    pub selector: Vec<(Str, Str)>,
    /// Terms of required node affinity, any of which suffices; `None` where there is no such rule.
    pub required: Option<Vec<NodeTerm>>,
    pub preferred: Vec<(i64, NodeTerm)>,
    pub tolerations: Vec<Toleration>,
    pub host_ports: Vec<HostPort>,
    pub spread: Vec<Spread>,
    pub gates: Vec<Str>,
    pub images: Vec<Str>,
    /// The PodScheduled condition that it carries: (status, message).
    pub told: Option<(Str, Str)>,
    /// `metadata.ownerReferences`' controller: pods of one owner are spread softly.
    pub owner: Str,
}

/// A node selector term: all of its expressions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeTerm {
    pub labels: Option<LabelSelector>,
    /// `matchFields` knows only `metadata.name`: (in, names).
    pub names: Vec<(bool, Vec<Str>)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Toleration {
    pub key: Str,
    /// `Exists` rather than `Equal`.
    pub exists: bool,
    pub value: Str,
    /// Empty: all effects.
    pub effect: Str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    pub ip: Str,
    pub protocol: Str,
    pub port: i64,
}

/// A topology spread constraint.
#[derive(Debug, Clone)]
pub struct Spread {
    pub key: Str,
    pub max_skew: i64,
    /// `DoNotSchedule` rather than `ScheduleAnyway`.
    pub hard: bool,
    pub selector: LabelSelector,
    pub min_domains: i64,
    /// `nodeAffinityPolicy: Honor`, `nodeTaintsPolicy: Honor`.
    pub honor_affinity: bool,
    pub honor_taints: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Taint {
    pub key: Str,
    pub value: Str,
    pub effect: Str,
}

/// A node.
#[derive(Debug, Clone)]
pub struct Node {
    pub name: Str,
    pub labels: Meta,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub allocatable: Amounts,
    /// Image names and their size in bytes.
    pub images: BTreeMap<Str, i64>,
}

impl Pod {
    pub fn read(object: &Arc<Object>) -> Pod {
        let v = object.tree();
        let spec = v.at(&["spec"]);
        let phase = v.str_at(&["status", "phase"]);
        let affinity = spec.at(&["affinity", "nodeAffinity"]);
        let required = affinity.at(&["requiredDuringSchedulingIgnoredDuringExecution"]);
        let conditions = v.items_at(&["status", "conditions"]);
        let told = conditions.iter().find(|c| c.str_at(&["type"]) == "PodScheduled");
        let owner = v.items_at(&["metadata", "ownerReferences"]).iter();
        let owner = owner.filter(|o| o.at(&["controller"]).as_bool() == Some(true)).map(|o| o.str_at(&["uid"])).next();
        Pod {
            key: object.key.clone(),
            uid: object.meta.uid.clone(),
            meta: object.meta.clone(),
            node: spec.str_at(&["nodeName"]).into(),
            scheduler: spec.str_at(&["schedulerName"]).into(),
            deleting: object.meta.deleting,
            finished: phase == "Succeeded" || phase == "Failed",
            priority: spec.at(&["priority"]).as_i64().unwrap_or(0),
            requests: requests(spec),
            selector: pairs(spec.at(&["nodeSelector"])),
            required: (!required.is_null())
                .then(|| required.items_at(&["nodeSelectorTerms"]).iter().filter_map(NodeTerm::read).collect()),
            preferred: affinity
                .items_at(&["preferredDuringSchedulingIgnoredDuringExecution"])
                .iter()
                .filter_map(|p| Some((p.at(&["weight"]).as_i64()?, NodeTerm::read(p.at(&["preference"]))?)))
                .collect(),
            tolerations: spec.items_at(&["tolerations"]).iter().map(Toleration::read).collect(),
            host_ports: containers(spec).flat_map(|c| c.items_at(&["ports"])).filter_map(HostPort::read).collect(),
            spread: spec
                .items_at(&["topologySpreadConstraints"])
                .iter()
                .map(|c| Spread::read(c, &object.meta))
                .collect(),
            gates: spec.items_at(&["schedulingGates"]).iter().map(|g| g.str_at(&["name"]).into()).collect(),
            images: containers(spec).map(|c| c.str_at(&["image"]).into()).collect(),
            told: told.map(|c| (c.str_at(&["status"]).into(), c.str_at(&["message"]).into())),
            owner: owner.unwrap_or("").into(),
        }
    }

    /// True for a pod that this scheduler has to place.
    pub fn waits(&self, scheduler: &str) -> bool {
        self.node.is_empty() && !self.deleting && !self.finished && self.scheduler == scheduler
    }

    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|t| t.covers(taint))
    }
}

impl Node {
    pub fn read(object: &Arc<Object>) -> Node {
        let v = object.tree();
        let images = v.items_at(&["status", "images"]).iter().flat_map(|image| {
            let size = image.at(&["sizeBytes"]).as_i64().unwrap_or(0);
            image.items_at(&["names"]).iter().filter_map(move |n| Some((n.as_str()?.into(), size)))
        });
        Node {
            name: object.key.name.clone(),
            labels: object.meta.clone(),
            taints: v.items_at(&["spec", "taints"]).iter().map(Taint::read).collect(),
            unschedulable: v.at(&["spec", "unschedulable"]).as_bool().unwrap_or(false),
            allocatable: amounts(v.at(&["status", "allocatable"])),
            images: images.collect(),
        }
    }
}

impl NodeTerm {
    /// `None` for an empty term, which matches nothing.
    fn read(term: &Value) -> Option<NodeTerm> {
        let expressions = term.items_at(&["matchExpressions"]);
        let fields = term.items_at(&["matchFields"]);
        if expressions.is_empty() && fields.is_empty() {
            return None;
        }
        let mut selector = Value::object();
        selector.set(&["matchExpressions"], expressions.to_vec());
        let names = fields.iter().map(|f| {
            let names = f.items_at(&["values"]).iter().filter_map(|n| n.as_str()).map(Str::from).collect();
            (f.str_at(&["operator"]) == "In", names)
        });
        let labels = match expressions.is_empty() {
            true => None,
            false => Some(LabelSelector::from_object(&selector).ok()?),
        };
        Some(NodeTerm { labels, names: names.collect() })
    }

    pub fn matches(&self, node: &Node) -> bool {
        self.labels.as_ref().is_none_or(|s| s.matches(&node.labels))
            && self.names.iter().all(|(is_in, names)| names.contains(&node.name) == *is_in)
    }
}

impl Toleration {
    fn read(v: &Value) -> Self {
        Toleration {
            key: v.str_at(&["key"]).into(),
            exists: v.str_at(&["operator"]) == "Exists",
            value: v.str_at(&["value"]).into(),
            effect: v.str_at(&["effect"]).into(),
        }
    }
    fn covers(&self, taint: &Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && (self.key == taint.key || (self.key.is_empty() && self.exists))
            && (self.exists || self.value == taint.value)
    }
}

impl Taint {
    fn read(v: &Value) -> Self {
        Taint {
            key: v.str_at(&["key"]).into(),
            value: v.str_at(&["value"]).into(),
            effect: v.str_at(&["effect"]).into(),
        }
    }
    /// True for taints that keep pods from being placed.
    pub fn repels(&self) -> bool {
        self.effect == "NoSchedule" || self.effect == "NoExecute"
    }
}

impl HostPort {
    fn read(v: &Value) -> Option<Self> {
        let port = v.at(&["hostPort"]).as_i64().filter(|p| *p > 0)?;
        let or = |text: &str, default: &str| Str::from(if text.is_empty() { default } else { text });
        let (ip, protocol) = (or(v.str_at(&["hostIP"]), "0.0.0.0"), or(v.str_at(&["protocol"]), "TCP"));
        Some(HostPort { ip, protocol, port })
    }
    pub fn clashes(&self, other: &HostPort) -> bool {
        let any = |ip: &Str| ip == "0.0.0.0" || ip == "::";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

impl Spread {
    fn read(v: &Value, labels: &Meta) -> Self {
        let mut selector = v.at(&["labelSelector"]).clone();
        // KEP-3243: the pod's own values of these keys narrow the selector.
        for key in v.items_at(&["matchLabelKeys"]).iter().filter_map(Value::as_str) {
            if let Some(own) = labels.label(key) {
                selector.set(&["matchLabels", key], own);
            }
        }
        Spread {
            key: v.str_at(&["topologyKey"]).into(),
            max_skew: v.at(&["maxSkew"]).as_i64().unwrap_or(1),
            hard: v.str_at(&["whenUnsatisfiable"]) != "ScheduleAnyway",
            selector: LabelSelector::from_object(&selector).unwrap_or_default(),
            min_domains: v.at(&["minDomains"]).as_i64().unwrap_or(1),
            honor_affinity: v.str_at(&["nodeAffinityPolicy"]) != "Ignore",
            honor_taints: v.str_at(&["nodeTaintsPolicy"]) == "Honor",
        }
    }
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    let sidecars = spec.items_at(&["initContainers"]).iter().filter(|c| c.str_at(&["restartPolicy"]) == "Always");
    spec.items_at(&["containers"]).iter().chain(sidecars)
}

fn pairs(v: &Value) -> Vec<(Str, Str)> {
    let members = v.as_object().into_iter().flat_map(|m| m.iter());
    members.map(|(k, v)| (k.into(), v.as_str().unwrap_or("").into())).collect()
}

/// What a pod asks for: the sum of its containers and sidecars, or one init container with the sidecars started before
/// it where that is more; and the overhead. Source: KEP-753.
fn requests(spec: &Value) -> Amounts {
    let asked = |c: &Value| amounts(c.at(&["resources", "requests"]));
    let mut total = Amounts::new();
    for container in spec.items_at(&["containers"]) {
        add(&mut total, &asked(container));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in spec.items_at(&["initContainers"]) {
        let mut with = asked(container);
        if container.str_at(&["restartPolicy"]) == "Always" {
            add(&mut sidecars, &with);
            with = sidecars.clone();
        } else {
            add(&mut with, &sidecars);
        }
        for (name, n) in with {
            let peak = peak.entry(name).or_default();
            *peak = (*peak).max(n);
        }
    }
    add(&mut total, &sidecars);
    for (name, n) in peak {
        let total = total.entry(name).or_default();
        *total = (*total).max(n);
    }
    add(&mut total, &amounts(spec.at(&["overhead"])));
    total
}

fn amounts(v: &Value) -> Amounts {
    let members = v.as_object().into_iter().flat_map(|m| m.iter());
    let read = members.filter_map(|(name, amount)| {
        let text = amount.as_str().map_or_else(|| amount.to_string(), String::from);
        let amount = Quantity::parse(&text).ok()?;
        Some((name.into(), if name == "cpu" { amount.milli_i64() } else { amount.bytes() }))
    });
    read.collect()
}

/// Adds amounts by resource.
pub fn add(total: &mut Amounts, more: &Amounts) {
    for (name, n) in more {
        *total.entry(name.clone()).or_default() += n;
    }
}
