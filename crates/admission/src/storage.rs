//! StorageObjectInUseProtection: what is in use is not removed; a controller takes the finalizer away when it is not.
//! PersistentVolumeClaimResize: a claim grows only where its class lets it.

use crate::{Plugin, Target, plugin::forbid};
use base::Result;
use quota::Amounts;
use resource::{Attributes, Call};
use schema::Operation;
use value::Value;

const PROTECTED: [((&str, &str), &str); 3] = [
    (("", "persistentvolumes"), "kubernetes.io/pv-protection"),
    (("", "persistentvolumeclaims"), "kubernetes.io/pvc-protection"),
    (("storage.k8s.io", "volumeattributesclasses"), "kubernetes.io/vac-protection"),
];

pub struct InUseProtection;

impl Plugin for InUseProtection {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        let protected = PROTECTED.iter().any(|(kind, _)| *kind == (target.group, target.plural));
        protected && target.subresource.is_empty() && target.operation == Operation::Create
    }
    fn mutate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let kind = &a.call.kind;
        let found = PROTECTED.iter().find(|((group, plural), _)| *group == &*kind.group && *plural == &*kind.plural);
        let Some((_, finalizer)) = found else { return Ok(()) };
        match a.object.at_mut(&["metadata", "finalizers"]) {
            Value::Array(own) if own.iter().any(|f| f.as_str() == Some(finalizer)) => {}
            Value::Array(own) => own.push((*finalizer).into()),
            other => *other = Value::Array(vec![(*finalizer).into()]),
        }
        Ok(())
    }
}

pub struct ClaimResize;

impl Plugin for ClaimResize {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        target.is("persistentvolumeclaims", "") && target.operation == Operation::Update
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let storage = |claim: &Value| Amounts::of(claim.at(&["spec", "resources", "requests"])).get("storage");
        let Some(old) = a.old else { return Ok(()) };
        if storage(&a.object) <= storage(old) {
            return Ok(());
        }
        if old.str_at(&["status", "phase"]) != "Bound" {
            return Err(forbid(a, "Only bound persistent volume claims can be expanded"));
        }
        let class = a.view.get("storage.k8s.io", "storageclasses", "", old.str_at(&["spec", "storageClassName"]));
        match class.is_some_and(|class| class.value().at(&["allowVolumeExpansion"]).as_bool() == Some(true)) {
            true => Ok(()),
            false => Err(forbid(
                a,
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check, object_of};
    use value::value;

    #[test]
    fn what_is_protected() {
        let claim = value!({"metadata": {"name": "d", "namespace": "dev"}});
        let given = object_of(&InUseProtection, Case::default().create("", "persistentvolumeclaims", claim));
        assert_eq!(given.at(&["metadata", "finalizers"]), &value!(["kubernetes.io/pvc-protection"]));
        let given = object_of(&InUseProtection, Case::default().create("", "persistentvolumeclaims", given));
        assert_eq!(given.items_at(&["metadata", "finalizers"]).len(), 1);
    }

    #[test]
    fn which_claims_may_grow() {
        let claim = |size: &str, class: &str, phase: &str| {
            value!({"metadata": {"name": "d", "namespace": "dev"}, "status": {"phase": phase},
                "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}})
        };
        for (size, class, phase, want) in [
            ("2Gi", "grows", "Bound", ""),
            ("1Gi", "fixed", "Bound", ""),
            ("2Gi", "grows", "Pending", "Only bound persistent volume claims can be expanded"),
            (
                "2Gi",
                "fixed",
                "Bound",
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
            ),
        ] {
            let case = Case::default()
                .with("storageclasses", value!({"metadata": {"name": "grows"}, "allowVolumeExpansion": true}))
                .with("storageclasses", value!({"metadata": {"name": "fixed"}}));
            let (new, old) = (claim(size, class, phase), claim("1Gi", class, phase));
            let want = match want {
                "" => "ok".to_string(),
                why => format!("403 persistentvolumeclaims \"d\" is forbidden: {why}"),
            };
            check(&ClaimResize, case.update("", "persistentvolumeclaims", "", new, old), &want);
        }
    }
}
