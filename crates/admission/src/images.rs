//! AlwaysPullImages: an image that one tenant may pull is not there for others because it lies on the node.

use crate::{Plugin, Target, plugin::forbid};
use base::{FieldErrors, Result, Status};
use resource::{Attributes, Call};
use schema::Operation;
use std::collections::HashSet;
use value::Value;

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
const ALWAYS: &str = "Always";

pub struct AlwaysPullImages;

impl Plugin for AlwaysPullImages {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        target.is("pods", "") && matches!(target.operation, Operation::Create | Operation::Update)
    }
    fn mutate(&self, a: &mut Attributes<'_>) -> Result<()> {
        if nothing_new(a) {
            return Ok(());
        }
        for list in LISTS {
            for container in a.object.array_at_mut(&["spec", list]).into_iter().flatten() {
                container.set(&["imagePullPolicy"], ALWAYS);
            }
        }
        let volumes = a.object.array_at_mut(&["spec", "volumes"]).into_iter().flatten();
        for volume in volumes.filter(|volume| !volume.at(&["image"]).is_null()) {
            volume.set(&["image", "pullPolicy"], ALWAYS);
        }
        Ok(())
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        if nothing_new(a) {
            return Ok(());
        }
        let mut told: Vec<Status> = Vec::new();
        let mut look = |policy: &str, path: String| {
            if policy != ALWAYS {
                let mut wrong = FieldErrors::default();
                wrong.not_supported(path, policy, &[ALWAYS]);
                told.push(forbid(a, wrong.aggregate()));
            }
        };
        for list in LISTS {
            for (i, container) in a.object.items_at(&["spec", list]).iter().enumerate() {
                look(container.str_at(&["imagePullPolicy"]), format!("spec.{list}[{i}].imagePullPolicy"));
            }
        }
        for (i, volume) in a.object.items_at(&["spec", "volumes"]).iter().enumerate() {
            if !volume.at(&["image"]).is_null() {
                look(volume.str_at(&["image", "pullPolicy"]), format!("spec.volumes[{i}].image.pullPolicy"));
            }
        }
        // Several of them are one error of no code of its own upstream, which clients see as a 500.
        match told.len() {
            0 => Ok(()),
            1 => Err(told.remove(0)),
            _ => Err(Status::plain(joined(told.iter().map(Status::message)))),
        }
    }
}

/// Several sentences as Go's aggregate prints them: one plainly, more in brackets, none twice.
pub fn joined<'a>(told: impl IntoIterator<Item = &'a str>) -> String {
    let mut seen = HashSet::new();
    let told: Vec<&str> = told.into_iter().filter(|text| seen.insert(*text)).collect();
    match told.as_slice() {
        [one] => one.to_string(),
        all => format!("[{}]", all.join(", ")),
    }
}

/// An update that brings no image that the pod had not.
fn nothing_new(a: &Attributes<'_>) -> bool {
    let images = |pod: &Value| -> HashSet<String> {
        let lists = LISTS.into_iter().flat_map(|list| pod.items_at(&["spec", list]));
        lists.map(|container| container.str_at(&["image"]).to_string()).collect()
    };
    a.operation == Operation::Update && a.old.is_some_and(|old| images(&a.object).is_subset(&images(old)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, check, object_of};
    use value::value;

    fn pod(image: &str) -> Value {
        value!({"metadata": {"name": "p", "namespace": "dev"}, "spec": {
            "initContainers": [{"name": "i", "image": "a", "imagePullPolicy": "Never"}],
            "containers": [{"name": "c", "image": image, "imagePullPolicy": "IfNotPresent"}],
            "volumes": [{"name": "v", "image": {"reference": "r"}}, {"name": "e", "emptyDir": {}}]}})
    }

    #[test]
    fn every_image_is_pulled() {
        let given = object_of(&AlwaysPullImages, Case::default().create("", "pods", pod("b")));
        for (path, at) in [("initContainers", "imagePullPolicy"), ("containers", "imagePullPolicy")] {
            assert_eq!(given.items_at(&["spec", path])[0].str_at(&[at]), "Always");
        }
        let volumes = given.items_at(&["spec", "volumes"]);
        assert_eq!(volumes[0].str_at(&["image", "pullPolicy"]), "Always");
        assert!(volumes[1].at(&["image"]).is_null());
        let update = |image: &str| Case::default().update("", "pods", "", pod(image), pod("b"));
        assert_eq!(object_of(&AlwaysPullImages, update("b")), pod("b"), "nothing new");
        assert_ne!(object_of(&AlwaysPullImages, update("c")), pod("c"));
    }

    #[test]
    fn what_came_later_is_refused() {
        struct Validating;
        impl Plugin for Validating {
            fn applies(&self, call: &Call, target: Target<'_>) -> bool {
                AlwaysPullImages.applies(call, target)
            }
            fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
                AlwaysPullImages.validate(a)
            }
        }
        let one = value!({"metadata": {"name": "p", "namespace": "dev"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        check(
            &Validating,
            Case::default().create("", "pods", one),
            "403 pods \"p\" is forbidden: spec.containers[0].imagePullPolicy: Unsupported value: \"\": supported values: \"Always\"",
        );
        let all = crate::testing::run(&Validating, Case::default().create("", "pods", pod("b")));
        assert!(all.starts_with("500 [pods \"p\" is forbidden: spec.initContainers[0]"), "{all}");
    }
}
