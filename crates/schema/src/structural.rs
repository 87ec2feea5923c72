//! Structural schemas: one arena of nodes per source (all built-in types share one, each CRD version has its own), and
//! a cheap handle into it.

use std::sync::Arc;
use value::{Str, Value};

/// A handle to one node; cloning shares the arena.
#[derive(Debug, Clone)]
pub struct Schema {
    arena: Arc<Arena>,
    root: NodeId,
}

/// The nodes that schemas point into. Nodes refer to each other by id, so that recursive types need no special case.
#[derive(Debug, Default)]
pub struct Arena {
    pub nodes: Vec<Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(pub u32);

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
    /// Anything (RawExtension, FieldsV1, `x-kubernetes-preserve-unknown-fields` without a type).
    #[default]
    Any,
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    Map,
}

/// One node: what a value at this place looks like.
#[derive(Debug, Clone, Default)]
pub struct Node {
    pub ty: Type,
    /// The built-in type's name (`io.k8s.api.core.v1.Container`), empty for anonymous nodes.
    pub name: Str,
    pub format: Str,
    /// Sorted by name.
    pub fields: Vec<Field>,
    /// Values of a map whose keys are data.
    pub additional: Option<NodeId>,
    /// Elements of a list.
    pub items: Option<NodeId>,
    pub list_type: ListType,
    /// Keys of a list of type map.
    pub list_keys: Vec<Str>,
    /// `x-kubernetes-map-type: atomic`.
    pub atomic: bool,
    pub nullable: bool,
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`: apiVersion, kind and metadata are checked.
    pub embedded: bool,
    /// Checks of values, as CRDs and few built-in types have them.
    pub checks: Option<Box<Checks>>,
}

/// One named member of an object.
#[derive(Debug, Clone)]
pub struct Field {
    pub name: Str,
    pub node: NodeId,
    pub required: bool,
    pub default: Option<Value>,
    /// Strategic merge patch.
    pub patch: Patch,
    /// `patchMergeKey`, empty where there is none.
    pub merge_key: Str,
    /// The field's number in protobuf; 0 where unknown (custom resources).
    pub number: u32,
}

/// `patchStrategy` of a list or object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patch {
    #[default]
    Replace,
    Merge,
    /// `retainKeys`: keys that the patch does not name go.
    RetainKeys,
    /// `merge,retainKeys`
    MergeRetainKeys,
}

/// Value checks of a node (CRD validation).
#[derive(Debug, Clone, Default)]
pub struct Checks {
    pub enumeration: Vec<Value>,
    pub minimum: Option<(f64, bool)>,
    pub maximum: Option<(f64, bool)>,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub pattern: Option<Str>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    /// `not`, `allOf`, `anyOf`, `oneOf`: schemas that only check values.
    pub not: Option<NodeId>,
    pub all_of: Vec<NodeId>,
    pub any_of: Vec<NodeId>,
    pub one_of: Vec<NodeId>,
}

impl Schema {
    pub fn new(arena: Arc<Arena>, root: NodeId) -> Self {
        Schema { arena, root }
    }
    /// The node itself.
    pub fn node(&self) -> &Node {
        &self.arena.nodes[self.root.0 as usize]
    }
    /// The same arena at another node.
    pub fn goto(&self, node: NodeId) -> Schema {
        Schema { arena: self.arena.clone(), root: node }
    }
    /// The arena and the root, for walks that do not clone.
    pub fn parts(&self) -> (&Arena, NodeId) {
        (&self.arena, self.root)
    }
}

impl std::ops::Index<NodeId> for Arena {
    type Output = Node;
    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}

impl Node {
    /// A member by name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|f| f.name.as_str().cmp(name)).ok().map(|i| &self.fields[i])
    }
}
