//! All configurations of a cluster, compiled. Replaced as a whole when one changes; a request keeps the one it began
//! with.

use super::hook::Hook;
use schema::View;
use std::{collections::HashMap, sync::Arc};
use value::{Object, Str, Value};

pub const GROUP: &str = "admissionregistration.k8s.io";

/// The kinds that are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    MutatingWebhooks,
    ValidatingWebhooks,
    ValidatingPolicies,
    ValidatingBindings,
    MutatingPolicies,
    MutatingBindings,
}

impl Source {
    pub const ALL: [Source; 6] = [
        Source::MutatingWebhooks,
        Source::ValidatingWebhooks,
        Source::ValidatingPolicies,
        Source::ValidatingBindings,
        Source::MutatingPolicies,
        Source::MutatingBindings,
    ];
    pub fn plural(self) -> &'static str {
        match self {
            Source::MutatingWebhooks => "mutatingwebhookconfigurations",
            Source::ValidatingWebhooks => "validatingwebhookconfigurations",
            Source::ValidatingPolicies => "validatingadmissionpolicies",
            Source::ValidatingBindings => "validatingadmissionpolicybindings",
            Source::MutatingPolicies => "mutatingadmissionpolicies",
            Source::MutatingBindings => "mutatingadmissionpolicybindings",
        }
    }
}

/// Something compiled from an object, kept while the object's spec stays.
type Kept<T> = HashMap<Str, (Arc<Object>, Arc<T>)>;

/// Objects of one kind in the order of their names, compiled; what did not change is not compiled again.
pub struct Compiled<T> {
    kept: Kept<T>,
}

impl<T> Default for Compiled<T> {
    fn default() -> Self {
        Compiled { kept: HashMap::new() }
    }
}

impl<T> Compiled<T> {
    /// Follows the view; everything in the order of names.
    pub fn renew(&mut self, view: &dyn View, source: Source, compile: impl Fn(&Value) -> T) -> Vec<Arc<T>> {
        let mut objects = view.list(GROUP, source.plural(), None);
        objects.sort_by(|a, b| a.key.name.cmp(&b.key.name));
        let mut kept = Kept::new();
        let mut all = Vec::with_capacity(objects.len());
        for object in objects {
            let made = match self.kept.remove(&object.key.name) {
                Some((known, made)) if known.revision == object.revision => made,
                _ => Arc::new(compile(&object.value())),
            };
            all.push(made.clone());
            kept.insert(object.key.name.clone(), (object, made));
        }
        self.kept = kept;
        all
    }
}

/// The webhooks of one configuration, in their order.
pub fn hooks_of(configuration: &Value) -> Vec<Arc<Hook>> {
    let of = |hook| Arc::new(Hook::of(hook, configuration.name()));
    configuration.items_at(&["webhooks"]).iter().map(of).collect()
}
