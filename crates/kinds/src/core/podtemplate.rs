//! PodTemplate: a pod template by itself.

use crate::{at::At, cells, declare::declare, template};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    declare("", "PodTemplate")
        .answers_deleted()
        .version("v1", "io.k8s.api.core.v1.PodTemplate", columns())
        .generation()
        .hooks(PodTemplate)
        .build()
}

fn columns() -> Vec<Column> {
    fn join(obj: &Value, field: &str) -> Value {
        let containers = obj.items_at(&["template", "spec", "containers"]);
        containers.iter().map(|c| c.str_at(&[field])).collect::<Vec<_>>().join(",").into()
    }
    vec![
        Column::object_name(),
        Column::text("Containers", |obj, _| join(obj, "name")),
        Column::text("Images", |obj, _| join(obj, "image")),
        Column::text("Pod Labels", |obj, _| cells::labels(obj.at(&["template", "metadata", "labels"])).into()),
    ]
}

#[derive(Debug)]
struct PodTemplate;

impl Hooks for PodTemplate {
    fn default(&self, obj: &mut Value) {
        if let Some(template) = obj.get_mut("template") {
            template::default_template(template);
        }
    }
    fn validate(&self, _cx: &Context, obj: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        template::validate_template(At::root(obj).get("template"), errors);
    }
    fn warnings(&self, _cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        template::warnings(At::root(obj).get("template"))
    }
}
