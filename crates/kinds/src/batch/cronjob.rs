//! CronJob: a Job whenever it is time.

use super::job;
use crate::{at::At, cells, declare::declare, rules, template};
use base::{FieldErrors, cron::Schedule, time};
use schema::{Column, Context, Hooks, Kind};
use value::Value;

/// A Job's name gets eleven more characters than its CronJob's.
const NAME_MAX: usize = 63 - 11;

pub fn kind() -> Kind {
    declare("batch", "CronJob")
        .short(["cj"])
        .categories(["all"])
        .version("v1", "io.k8s.api.batch.v1.CronJob", columns())
        .generation()
        .status()
        .hooks(CronJob)
        .build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::text("Schedule", |obj, _| obj.str_at(&["spec", "schedule"]).into()),
        Column::text("Timezone", |obj, _| match obj.at(&["spec", "timeZone"]) {
            Value::Null => "<none>".into(),
            zone => zone.clone(),
        }),
        cells::flag("Suspend", |obj, _| match obj.at(&["spec", "suspend"]).as_bool() {
            Some(true) => "True".into(),
            Some(false) => "False".into(),
            None => "<unset>".into(),
        }),
        Column::number("Active", |obj, _| obj.items_at(&["status", "active"]).len().into()),
        Column::text("Last Schedule", |obj, now| match obj.at(&["status", "lastScheduleTime"]) {
            Value::Null => "<none>".into(),
            at => cells::since(at, now).into(),
        }),
        Column::age(),
        Column::text("Containers", |obj, _| cells::each(template_of(obj), "name")).wide(),
        Column::text("Images", |obj, _| cells::each(template_of(obj), "image")).wide(),
        Column::text("Selector", |obj, _| cells::selector(obj.at(&["spec", "jobTemplate", "spec", "selector"])).into())
            .wide(),
    ]
}

fn template_of(obj: &Value) -> &Value {
    obj.at(&["spec", "jobTemplate", "spec", "template"])
}

#[derive(Debug)]
struct CronJob;

impl Hooks for CronJob {
    fn default(&self, obj: &mut Value) {
        template::default_template_at(obj, &["spec", "jobTemplate", "spec", "template"]);
    }
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        obj.set(&["status"], Value::object());
    }
    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        if cx.subresource.is_some() {
            return;
        }
        let root = At::root(obj);
        let spec = root.get("spec");
        schedule(spec, old, errors);
        spec.get("startingDeadlineSeconds").non_negative(errors);
        let zone = spec.get("timeZone");
        if old.is_none_or(|old| old.at(&["spec", "timeZone"]) != zone.value) {
            time_zone(zone, errors);
        }
        spec.get("concurrencyPolicy").one_of(errors, &["Allow", "Forbid", "Replace"]);
        job_template(spec.get("jobTemplate"), errors);
        spec.get("successfulJobsHistoryLimit").non_negative(errors);
        spec.get("failedJobsHistoryLimit").non_negative(errors);
        if old.is_none() && obj.name().len() > NAME_MAX {
            errors.invalid("metadata.name", obj.name(), format!("must be no more than {NAME_MAX} characters"));
        }
    }
    fn warnings(&self, cx: &Context, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings: Vec<String> = rules::hostname_warning(cx, obj, old).into_iter().collect();
        if cx.subresource.is_some() {
            return warnings;
        }
        let root = At::root(obj);
        let spec = root.get("spec");
        let template = spec.get("jobTemplate");
        if old.is_none_or(|old| job::changed(old, obj)) {
            job::spec::warnings(template.get("spec"), &mut warnings);
        }
        if old.is_some() && spec.get("schedule").str().contains("TZ") {
            // The path is upstream's.
            warnings.push(
                "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
                 https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                    .into(),
            );
        }
        warnings
    }
}

/// A zone inside the schedule was once possible, and stays where it stands.
fn schedule(spec: At, old: Option<&Value>, errors: &mut FieldErrors) {
    let schedule = spec.get("schedule");
    if !schedule.need(errors) {
        return;
    }
    let text = schedule.str();
    let prefix = ["TZ=", "CRON_TZ="].into_iter().find_map(|prefix| text.strip_prefix(prefix));
    let parsed = match prefix.map(|rest| rest.split_once(' ').unwrap_or((rest, ""))) {
        None => Schedule::parse(text),
        Some((zone, rest)) => match time::zone(zone) {
            Ok(_) => Schedule::parse(rest.trim()),
            Err(why) => Err(format!("provided bad location {zone}: {why}")),
        },
    };
    if let Err(why) = parsed {
        schedule.invalid(errors, why);
    }
    if text.contains("TZ") {
        let had = old.is_some_and(|old| old.str_at(&["spec", "schedule"]).contains("TZ"));
        if !had {
            schedule.invalid(errors, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
        } else if spec.get("timeZone").is_set() {
            schedule.invalid(errors, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
        }
    }
}

fn time_zone(zone: At, errors: &mut FieldErrors) {
    if !zone.is_set() {
        return;
    }
    if zone.is_empty() {
        return zone.invalid(errors, "timeZone must be nil or non-empty string");
    }
    let name = zone.str();
    let good = |part: &str| {
        !matches!(part, "." | "..")
            && !part.starts_with('-')
            && (1..=14).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b))
    };
    if !name.split('/').all(good) {
        return zone.invalid(errors, format!("unknown time zone {name}"));
    }
    if name.eq_ignore_ascii_case("Local") {
        zone.invalid(errors, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones");
    } else if let Err(why) = time::zone(name) {
        zone.invalid(errors, why);
    }
}

fn job_template(template: At, errors: &mut FieldErrors) {
    let spec = template.get("spec");
    job::spec::validate(spec, errors);
    let (selector, manual) = (spec.get("selector"), spec.get("manualSelector"));
    if selector.is_set() {
        selector.invalid(errors, "`selector` will be auto-generated");
    }
    if manual.flag() {
        let supported = "supported values: \"nil\", \"false\"";
        errors.add(base::status::Problem::NotSupported, manual.path, Some("true".into()), supported);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, cells, create, defaults, update};
    use expect_test::expect;
    use value::value;

    fn cron() -> Value {
        value!({"spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": {"spec": {
            "restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "x:1"}]}}}}}})
    }
    fn with(path: &[&str], value: impl Into<Value>) -> Value {
        let mut obj = cron();
        obj.set(path, value);
        obj
    }

    #[test]
    fn defaulting() {
        defaults(
            &kind(),
            cron(),
            &["spec"],
            expect![[
                r#"{"concurrencyPolicy":"Allow","failedJobsHistoryLimit":1,"jobTemplate":{"metadata":{},"spec":{"template":{"metadata":{},"spec":{"containers":[{"image":"x:1","imagePullPolicy":"IfNotPresent","name":"c","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","restartPolicy":"OnFailure","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}}},"schedule":"*/5 * * * *","successfulJobsHistoryLimit":3,"suspend":false}"#
            ]],
        );
    }

    #[test]
    fn validation() {
        create(&kind(), cron(), expect![]);
        for (obj, want) in [
            (
                value!({"spec": {}}),
                expect![[r#"
                spec.schedule: Required value
                spec.jobTemplate.spec.template.spec.containers: Required value
                spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#]],
            ),
            (
                with(&["spec", "schedule"], "61 * * * *"),
                expect![[r#"spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61"#]],
            ),
            (
                with(&["spec", "schedule"], "TZ=UTC * * * * *"),
                expect![[
                    r#"spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"#
                ]],
            ),
            (with(&["spec", "timeZone"], "Europe/Berlin"), expect![]),
            (
                with(&["spec", "timeZone"], ""),
                expect![[r#"spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string"#]],
            ),
            (
                with(&["spec", "timeZone"], "Local"),
                expect![[
                    r#"spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"#
                ]],
            ),
            (
                with(&["spec", "timeZone"], "Mars/Olympus"),
                expect![[r#"spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus"#]],
            ),
            (
                with(&["spec", "timeZone"], "../etc"),
                expect![[r#"spec.timeZone: Invalid value: "../etc": unknown time zone ../etc"#]],
            ),
            (
                with(&["spec", "concurrencyPolicy"], "Sometimes"),
                expect![[
                    r#"spec.concurrencyPolicy: Unsupported value: "Sometimes": supported values: "Allow", "Forbid", "Replace""#
                ]],
            ),
            (
                with(&["spec", "startingDeadlineSeconds"], -1),
                expect!["spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                with(&["spec", "successfulJobsHistoryLimit"], -1),
                expect!["spec.successfulJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                with(&["spec", "failedJobsHistoryLimit"], -1),
                expect!["spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                with(&["spec", "jobTemplate", "spec", "selector"], value!({})),
                expect!["spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated"],
            ),
            (
                with(&["spec", "jobTemplate", "spec", "manualSelector"], true),
                expect![[
                    r#"spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false""#
                ]],
            ),
            (
                with(&["spec", "jobTemplate", "spec", "template", "spec", "restartPolicy"], "Always"),
                expect![[
                    r#"spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#
                ]],
            ),
            (
                with(&["metadata", "name"], "a".repeat(53)),
                expect![[
                    r#"metadata.name: Invalid value: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": must be no more than 52 characters"#
                ]],
            ),
        ] {
            create(&kind(), obj, want);
        }
    }

    #[test]
    fn zones_in_schedules_stay() {
        let old = with(&["spec", "schedule"], "TZ=UTC 0 * * * *");
        update(&kind(), old.clone(), with(&["spec", "schedule"], "CRON_TZ=UTC 1 * * * *"), expect![]);
        let mut both = old.clone();
        both.set(&["spec", "timeZone"], "UTC");
        update(
            &kind(),
            old,
            both,
            expect![[
                r#"spec.schedule: Invalid value: "TZ=UTC 0 * * * *": cannot use both timeZone field and TZ or CRON_TZ in schedule"#
            ]],
        );
    }

    #[test]
    fn warnings() {
        testing::warnings(
            &kind(),
            with(&["metadata", "name"], "a.b"),
            expect![
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]"
            ],
        );
    }

    #[test]
    fn columns() {
        cells(&kind(), cron(), expect!["obj | */5 * * * * | <none> | <unset> | 0 | <none> | 5m || c | x:1 | <none>"]);
        let mut obj = with(&["spec", "timeZone"], "UTC");
        obj.set(&["spec", "suspend"], true);
        obj.set(&["status"], value!({"active": [{}], "lastScheduleTime": "2026-01-02T03:09:00Z"}));
        cells(&kind(), obj, expect!["obj | */5 * * * * | UTC | True | 1 | 60s | 5m || c | x:1 | <none>"]);
    }
}
