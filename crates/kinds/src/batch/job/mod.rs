//! Job: pods until enough of them have succeeded.
//!
//! [`spec`] has the rules of a job's spec, which CronJobs hold too; [`update`] what may change; [`status`] which
//! states may follow each other; [`indexes`] the text form of a set of indexes. Here: declaration, defaults, columns and
//! the selector that the server makes.

mod indexes;
pub mod spec;
mod status;
mod update;

use crate::{at::At, cells, declare::declare, rules, template};
use base::{
    FieldErrors, Result, names,
    time::{self, Timestamp},
};
use schema::{Column, Context, Hooks, Kind, Pool};
use value::Value;

const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

pub fn kind() -> Kind {
    declare("batch", "Job")
        .categories(["all"])
        .version("v1", "io.k8s.api.batch.v1.Job", columns())
        .generation()
        .orphan_by_default()
        .status()
        .selectable_at("status.successful", "status.succeeded", "0")
        .hooks(Job)
        .build()
}

fn columns() -> Vec<Column> {
    let mut columns = vec![
        Column::object_name(),
        Column::text("Status", |job, _| state(job).into()),
        Column::text("Completions", |job, _| completions(job).into()),
        Column::text("Duration", |job, now| duration(job, now).into()),
        Column::age(),
    ];
    columns.extend(cells::workload());
    columns
}

/// True where the condition of that type is true.
fn is(job: &Value, condition: &str) -> bool {
    cells::condition(job, condition).is_some_and(|c| c.str_at(&["status"]) == "True")
}

fn state(job: &Value) -> &'static str {
    match () {
        () if is(job, "Complete") => "Complete",
        () if is(job, "Failed") => "Failed",
        () if !job.at(&["metadata", "deletionTimestamp"]).is_null() => "Terminating",
        () if is(job, "Suspended") => "Suspended",
        () if is(job, "FailureTarget") => "FailureTarget",
        () if is(job, "SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(job: &Value) -> String {
    let succeeded = job.at(&["status", "succeeded"]).as_i64().unwrap_or(0);
    let parallelism = job.at(&["spec", "parallelism"]).as_i64().unwrap_or(0);
    match job.at(&["spec", "completions"]).as_i64() {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    }
}

fn duration(job: &Value, now: Timestamp) -> String {
    let time = |field| time::parse(job.str_at(&["status", field]));
    match time("startTime") {
        Some(start) => time::age(time("completionTime").unwrap_or(now).duration_since(start)),
        None => String::new(),
    }
}

#[derive(Debug)]
struct Job;

impl Hooks for Job {
    fn default(&self, obj: &mut Value) {
        template::default_template_at(obj, &["spec", "template"]);
        default_spec(obj.at_mut(&["spec"]));
        default_labels(obj);
    }
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        obj.set(&["status"], Value::object());
        if !obj.name().is_empty() {
            generate_selector(obj);
        }
    }
    /// Only now is a generated name known.
    fn allocate(&self, _cx: &Context, obj: &mut Value, old: Option<&Value>, _pool: &dyn Pool) -> Result<()> {
        if old.is_none() {
            generate_selector(obj);
        }
        Ok(())
    }
    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if let (Some("status"), Some(old)) = (cx.subresource, old) {
            return status::validate(root, old, errors);
        }
        generated_selector(root, old, errors);
        let spec = root.get("spec");
        spec::validate(spec, errors);
        spec::selector(spec, errors);
        hostnames(root, errors);
        if let Some(old) = old {
            update::validate(spec, old, errors);
        }
    }
    fn warnings(&self, cx: &Context, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let root = At::root(obj);
        let mut warnings: Vec<String> = rules::hostname_warning(cx, obj, old).into_iter().collect();
        if cx.subresource.is_none() && old.is_none_or(|old| changed(old, obj)) {
            spec::warnings(root.get("spec"), &mut warnings);
        }
        warnings
    }
}

/// True where a write has counted the generation up.
pub fn changed(old: &Value, new: &Value) -> bool {
    let generation = |obj: &Value| obj.at(&["metadata", "generation"]).as_i64();
    generation(old) != generation(new)
}

/// The defaults of a Job's own spec; a CronJob's template has none of them.
fn default_spec(spec: &mut Value) {
    if spec.at(&["completions"]).is_null() && spec.at(&["parallelism"]).is_null() {
        spec.set(&["completions"], 1);
    }
    spec.set_default(&["parallelism"], 1);
    let forever = !spec.at(&["backoffLimitPerIndex"]).is_null();
    spec.set_default(&["backoffLimit"], if forever { i32::MAX } else { 6 });
    spec.set_default(&["completionMode"], "NonIndexed");
    spec.set_default(&["suspend"], false);
    let policy = if spec.at(&["podFailurePolicy"]).is_null() { "TerminatingOrFailed" } else { "Failed" };
    spec.set_default(&["podReplacementPolicy"], policy);
    spec.set_default(&["manualSelector"], false);
}

/// A job without labels has its template's.
fn default_labels(obj: &mut Value) {
    let labels = obj.at(&["spec", "template", "metadata", "labels"]).clone();
    if labels.as_object().is_some() && obj.members_at(&["metadata", "labels"]).next().is_none() {
        obj.set(&["metadata", "labels"], labels);
    }
}

/// Labels that make the pods this job's, and a selector for them, unless the author made their own.
fn generate_selector(obj: &mut Value) {
    if obj.at(&["spec", "manualSelector"]).as_bool() == Some(true) {
        return;
    }
    let (name, uid) = (obj.name().to_string(), obj.str_at(&["metadata", "uid"]).to_string());
    let template = ["spec", "template", "metadata", "labels"];
    // Labels that came from the template go on following it.
    let follow = obj.at(&["metadata", "labels"]) == obj.at(&template);
    for (keys, value) in [(NAME_LABELS, &name), (UID_LABELS, &uid)] {
        for key in keys {
            obj.set_default(&["spec", "template", "metadata", "labels", key], value);
        }
    }
    obj.set_default(&["spec", "selector", "matchLabels", UID_LABELS[1]], &uid);
    if follow {
        let labels = obj.at(&template).clone();
        obj.set(&["metadata", "labels"], labels);
    }
}

/// What the server would have generated stands there. Jobs of old servers lack the labels with a prefix.
fn generated_selector(job: At, old: Option<&Value>, errors: &mut FieldErrors) {
    let spec = job.get("spec");
    let selector = spec.get("selector");
    if spec.get("manualSelector").flag() || !selector.is_set() {
        return;
    }
    let (name, uid) = (job.value.name(), job.value.str_at(&["metadata", "uid"]));
    if uid.is_empty() {
        errors.required("metadata.uid", "");
    }
    let had = |old: &Value, key: &str| old.at(&["spec", "template", "metadata", "labels"]).get(key).is_some();
    let prefixed = old.is_none_or(|old| had(old, NAME_LABELS[1]) && had(old, UID_LABELS[1]));
    let template = spec.get("template");
    let metadata = template.get("metadata");
    let labels = metadata.get("labels");
    let mut expected = Value::object();
    for (uid_label, name_label) in UID_LABELS.into_iter().zip(NAME_LABELS).take(if prefixed { 2 } else { 1 }) {
        for (key, want) in [(uid_label, uid), (name_label, name)] {
            expected.set(&[key], want);
            let detail = format!("must be '{want}'");
            match labels.value.get(key) {
                None => labels.entry(key).required(errors, &detail),
                Some(found) if *found != want => {
                    errors.invalid_raw(labels.entry(key).path, labels.value, detail);
                }
                Some(_) => {}
            }
        }
    }
    if !rules::selects(selector.value, &expected) {
        selector.invalid(errors, "`selector` not auto-generated");
    }
}

/// Pods of an indexed job are called after their index.
fn hostnames(job: At, errors: &mut FieldErrors) {
    let completions = job.value.at(&["spec", "completions"]).as_i64().unwrap_or(0);
    if job.value.str_at(&["spec", "completionMode"]) != "Indexed" || completions <= 0 {
        return;
    }
    let longest = format!("{}-{}", job.value.name(), completions - 1);
    if names::label(&longest).is_err() {
        let detail = format!("will not able to create pod with invalid DNS label: {longest}");
        errors.invalid("metadata.name", job.value.name(), detail);
    }
}

#[cfg(test)]
mod tests;
