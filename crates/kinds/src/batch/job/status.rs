//! Which states of a job may follow each other. A rule is held against what a write changes: a status that is wrong
//! already may still be written where it is right. Source: `getStatusValidationOptions` of the job's strategy.

use super::{indexes, is};
use crate::{at::At, rules::same};
use base::{FieldErrors, status::Problem, time};
use std::collections::BTreeSet;
use value::Value;

/// A status, the one before, and what is asked of both.
struct Change<'a> {
    job: &'a Value,
    old: &'a Value,
}

impl Change<'_> {
    fn field(&self, name: &str) -> bool {
        !same(self.job.at(&["status", name]), self.old.at(&["status", name]))
    }
    fn number(&self, name: &str) -> bool {
        number(self.job, name) != number(self.old, name)
    }
    fn condition(&self, name: &str) -> bool {
        is(self.job, name) != is(self.old, name)
    }
    fn finished(&self) -> bool {
        finished(self.job) != finished(self.old)
    }
}

fn number(job: &Value, name: &str) -> i64 {
    job.at(&["status", name]).as_i64().unwrap_or(0)
}
fn finished(job: &Value) -> bool {
    is(job, "Complete") || is(job, "Failed")
}

pub fn validate(root: At, old: &Value, errors: &mut FieldErrors) {
    let status = root.get("status");
    let change = Change { job: root.value, old };
    for count in ["active", "succeeded", "failed", "ready", "terminating"] {
        status.get(count).non_negative(errors);
    }
    uncounted(status, errors);
    conditions_fit(status, &change, errors);
    times(status, &change, errors);
    finished_is_finished(status, &change, errors);
    index_sets(status, &change, errors);
    if (change.field("ready") || change.number("active")) && number(root.value, "ready") > number(root.value, "active")
    {
        status.get("ready").invalid_int(errors, "cannot set more ready pods than active");
    }
    criteria(status, &change, errors);
    nothing_taken_back(status, &change, errors);
}

fn wrong_conditions(status: At, detail: impl Into<String>, errors: &mut FieldErrors) {
    errors.add(Problem::Invalid, status.path.key("conditions"), None, detail);
}

/// Names of pods that ended and are not counted yet.
fn uncounted(status: At, errors: &mut FieldErrors) {
    let pods = status.get("uncountedTerminatedPods");
    let mut seen = BTreeSet::new();
    for list in ["succeeded", "failed"] {
        for uid in pods.get(list).items() {
            if uid.is_empty() {
                uid.invalid(errors, "must not be empty");
            } else if !seen.insert(uid.str().to_string()) {
                uid.duplicate(errors);
            }
        }
    }
}

fn conditions_fit(status: At, change: &Change, errors: &mut FieldErrors) {
    let job = change.job;
    let complete = change.condition("Complete");
    if (complete || change.condition("Failed")) && is(job, "Complete") && is(job, "Failed") {
        wrong_conditions(status, "cannot set Complete=True and Failed=true conditions", errors);
    }
    if (complete || change.condition("FailureTarget")) && is(job, "Complete") && is(job, "FailureTarget") {
        wrong_conditions(status, "cannot set Complete=True and FailureTarget=true conditions", errors);
    }
}

fn times(status: At, change: &Change, errors: &mut FieldErrors) {
    let (start, end) = (status.get("startTime"), status.get("completionTime"));
    let complete = is(change.job, "Complete");
    let ends = change.field("completionTime");
    if change.condition("Complete") || ends {
        if end.is_set() && !complete {
            end.invalid(errors, "cannot set completionTime when there is no Complete=True condition");
        }
        if !end.is_set() && complete {
            end.required(errors, "completionTime is required for Complete jobs");
        }
    }
    let before = || Some(time::parse(end.str())? < time::parse(start.str())?);
    if (change.field("startTime") || ends) && before() == Some(true) {
        end.invalid(errors, "must be equal to or after `startTime`");
    }
}

fn finished_is_finished(status: At, change: &Change, errors: &mut FieldErrors) {
    let job = change.job;
    if (change.condition("Failed") || change.field("failedIndexes")) && is(job, "Failed") && !is(job, "FailureTarget") {
        let detail = "cannot set Failed=True condition without the FailureTarget=true condition";
        wrong_conditions(status, detail, errors);
    }
    let met = is(job, "SuccessCriteriaMet");
    if (change.condition("Complete") || change.condition("SuccessCriteriaMet")) && is(job, "Complete") && !met {
        let detail = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        wrong_conditions(status, detail, errors);
    }
    if !finished(job) {
        return;
    }
    let now = change.finished();
    if (now || change.number("active")) && number(job, "active") > 0 {
        status.get("active").invalid_int(errors, "active>0 is invalid for finished job");
    }
    let start = status.get("startTime");
    let nothing_to_do =
        job.at(&["spec", "suspend"]).as_bool() == Some(true) && job.at(&["spec", "completions"]).as_i64() == Some(0);
    if (now || change.field("startTime")) && !nothing_to_do && !start.is_set() {
        start.required(errors, "startTime is required for finished job");
    }
    let uncounted = status.get("uncountedTerminatedPods");
    if (now || change.field("uncountedTerminatedPods"))
        && ["succeeded", "failed"].iter().any(|list| !uncounted.get(list).is_empty())
    {
        uncounted.invalid(errors, "must be empty for finished job");
    }
    if (now || change.field("terminating")) && number(job, "terminating") > 0 {
        status.get("terminating").invalid_int(errors, "terminating>0 is invalid for finished job");
    }
}

fn index_sets(status: At, change: &Change, errors: &mut FieldErrors) {
    let spec = change.job.at(&["spec"]);
    let (completed, failed) = (status.get("completedIndexes"), status.get("failedIndexes"));
    let completions = spec.at(&["completions"]).as_i64();
    let limited = !spec.at(&["backoffLimitPerIndex"]).is_null();
    let (completed_changed, failed_changed) = (change.field("completedIndexes"), change.field("failedIndexes"));
    for (set, name, asked) in
        [(completed, "completedIndexes", completed_changed), (failed, "failedIndexes", failed_changed && limited)]
    {
        if let (true, Some(completions)) = (asked, completions)
            && let Err(why) = indexes::count(set.str(), completions)
        {
            set.invalid(errors, format!("error parsing {name}: {why}"));
        }
    }
    if completed_changed && !completed.is_empty() && spec.str_at(&["completionMode"]) != "Indexed" {
        completed.invalid(errors, "cannot set non-empty completedIndexes when non-indexed completion mode");
    }
    if failed_changed && !limited && failed.is_set() {
        failed.invalid(errors, "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
    }
    if let (true, Some(completions)) = (completed_changed || failed_changed, completions)
        && let Some(index) = indexes::overlap(completed.str(), failed.str(), completions)
    {
        failed.invalid(errors, format!("failedIndexes and completedIndexes overlap at index: {index}"));
    }
}

fn criteria(status: At, change: &Change, errors: &mut FieldErrors) {
    let job = change.job;
    let met = is(job, "SuccessCriteriaMet");
    if met && is(job, "Failed") {
        wrong_conditions(status, "cannot set SuccessCriteriaMet=True and Failed=true conditions", errors);
    }
    if met && is(job, "FailureTarget") {
        wrong_conditions(status, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions", errors);
    }
    if !job.at(&["spec", "successPolicy"]).is_null() && !met && is(job, "Complete") {
        let detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        wrong_conditions(status, detail, errors);
    }
}

fn nothing_taken_back(status: At, change: &Change, errors: &mut FieldErrors) {
    let Change { job, old } = *change;
    for end in ["Failed", "Complete", "FailureTarget"] {
        if is(old, end) && !is(job, end) {
            wrong_conditions(status, format!("cannot disable the terminal {end}=True condition"), errors);
        }
    }
    if number(job, "failed") < number(old, "failed") {
        status.get("failed").invalid_int(errors, "cannot decrease the failed counter");
    }
    let spec = job.at(&["spec"]);
    // Indexed jobs that run everything at once may be made smaller.
    let elastic =
        spec.str_at(&["completionMode"]) == "Indexed" && spec.at(&["completions"]) == spec.at(&["parallelism"]);
    if !elastic && number(job, "succeeded") < number(old, "succeeded") {
        status.get("succeeded").invalid_int(errors, "cannot decrease the succeeded counter");
    }
    let (start, end) = (status.get("startTime"), status.get("completionTime"));
    if end.is_set() && !old.at(&["status", "completionTime"]).is_null() && change.field("completionTime") {
        end.invalid(errors, crate::rules::IMMUTABLE);
    }
    let resumed = is(old, "Suspended")
        && crate::cells::condition(job, "Suspended").is_some_and(|c| c.str_at(&["status"]) == "False");
    let running = spec.at(&["suspend"]).as_bool() != Some(true);
    if change.field("startTime") && !old.at(&["status", "startTime"]).is_null() && running && !resumed {
        start.invalid(errors, "field is immutable for unsuspended job once set");
    }
    let (was, met) = (is(old, "SuccessCriteriaMet"), is(job, "SuccessCriteriaMet"));
    if was && !met {
        wrong_conditions(status, "cannot disable the SuccessCriteriaMet=True condition", errors);
    }
    if is(old, "Complete") && !was && met {
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        wrong_conditions(status, detail, errors);
    }
}
