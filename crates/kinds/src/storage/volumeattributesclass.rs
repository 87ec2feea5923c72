//! VolumeAttributesClass: properties of a volume that may change while it is used.

use super::rules;
use crate::{at::At, declare::declare, rules::same};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    declare("storage.k8s.io", "VolumeAttributesClass")
        .plural("volumeattributesclasses")
        .answers_deleted()
        .short(["vac"])
        .cluster()
        .version("v1", "io.k8s.api.storage.v1.VolumeAttributesClass", columns())
        .hooks(VolumeAttributesClass)
        .build()
}

fn columns() -> Vec<Column> {
    let driver = Column::text("DriverName", |obj, _| obj.str_at(&["driverName"]).into());
    vec![Column::object_name(), driver, Column::age()]
}

#[derive(Debug)]
struct VolumeAttributesClass;

impl Hooks for VolumeAttributesClass {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if let Some(old) = old {
            for field in ["driverName", "parameters"] {
                let place = root.get(field);
                if !same(place.value, old.at(&[field])) {
                    place.forbidden(errors, format!("updates to {field} are forbidden."));
                }
            }
        }
        rules::provisioner(root.get("driverName"), errors);
        let parameters = root.get("parameters");
        rules::parameters(parameters, errors);
        if parameters.is_empty() {
            parameters.required(errors, "must contain at least one key/value pair");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update};
    use expect_test::expect;
    use value::value;

    #[test]
    fn validation() {
        let class = value!({"driverName": "csi.example.com", "parameters": {"iops": "5"}});
        create(&kind(), class.clone(), expect![]);
        create(
            &kind(),
            value!({}),
            expect![[r#"
            driverName: Required value
            parameters: Required value: must contain at least one key/value pair"#]],
        );
        update(
            &kind(),
            class.clone(),
            value!({"driverName": "other", "parameters": {"iops": "6"}}),
            expect![[r#"
            driverName: Forbidden: updates to driverName are forbidden.
            parameters: Forbidden: updates to parameters are forbidden."#]],
        );
        cells(&kind(), class, expect!["obj | csi.example.com | 5m"]);
    }
}
