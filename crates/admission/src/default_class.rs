//! DefaultStorageClass and DefaultIngressClass: who names no class gets the one that is marked as the default. Of several
//! the newest counts (upstream).

use crate::{Plugin, Target};
use base::Result;
use resource::{Attributes, Call};
use schema::Operation;
use value::Value;

/// One such plugin.
pub struct DefaultClass {
    /// Of the objects that get a class.
    of: (&'static str, &'static str),
    class: (&'static str, &'static str),
    /// Marks a class as the default.
    marks: &'static [&'static str],
    field: &'static str,
    /// The annotation that named the class before the field did.
    older: &'static str,
}

pub const STORAGE: DefaultClass = DefaultClass {
    of: ("", "persistentvolumeclaims"),
    class: ("storage.k8s.io", "storageclasses"),
    marks: &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"],
    field: "storageClassName",
    older: "volume.beta.kubernetes.io/storage-class",
};

pub const INGRESS: DefaultClass = DefaultClass {
    of: ("networking.k8s.io", "ingresses"),
    class: ("networking.k8s.io", "ingressclasses"),
    marks: &["ingressclass.kubernetes.io/is-default-class"],
    field: "ingressClassName",
    older: "kubernetes.io/ingress.class",
};

impl Plugin for DefaultClass {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        (target.group, target.plural) == self.of
            && target.subresource.is_empty()
            && target.operation == Operation::Create
    }
    fn mutate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let named = !a.object.at(&["spec", self.field]).is_null()
            || a.object.at(&["metadata", "annotations"]).get(self.older).is_some();
        if named {
            return Ok(());
        }
        let classes: Vec<Value> = a.view.list(self.class.0, self.class.1, None).iter().map(|o| o.value()).collect();
        let marked = |class: &&Value| {
            let of = class.at(&["metadata", "annotations"]);
            self.marks.iter().any(|mark| of.get(mark).and_then(Value::as_str) == Some("true"))
        };
        let age = |class: &&Value| class.str_at(&["metadata", "creationTimestamp"]).to_string();
        // The newest; of equally old ones the first by name.
        let newest = classes.iter().filter(marked).max_by(|a, b| age(a).cmp(&age(b)).then(b.name().cmp(a.name())));
        if let Some(class) = newest {
            a.object.set(&["spec", self.field], class.name());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, object_of};
    use value::value;

    #[test]
    fn the_newest_default() {
        let class = |name: &str, made: &str, mark: &str| {
            let mut class = value!({"metadata": {"name": name, "creationTimestamp": made}});
            class.set(&["metadata", "annotations", STORAGE.marks[0]], mark);
            class
        };
        let given = |spec: Value| {
            let mut claim = value!({"metadata": {"name": "d", "namespace": "dev"}});
            claim.set(&["spec"], spec);
            let case = Case::default()
                .with("storageclasses", class("old", "2026-01-01T00:00:00Z", "true"))
                .with("storageclasses", class("new-b", "2026-02-01T00:00:00Z", "true"))
                .with("storageclasses", class("new-a", "2026-02-01T00:00:00Z", "true"))
                .with("storageclasses", class("other", "2026-03-01T00:00:00Z", "false"));
            let claim = object_of(&STORAGE, case.create("", "persistentvolumeclaims", claim));
            claim.at(&["spec", "storageClassName"]).clone()
        };
        assert_eq!(given(value!({})), value!("new-a"));
        assert_eq!(given(value!({"storageClassName": ""})), value!(""));
        assert_eq!(given(value!({"storageClassName": "own"})), value!("own"));
    }
}
