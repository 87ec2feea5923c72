//! ValidatingAdmissionPolicy: expressions that what is written must satisfy. Source:
//! `apiserver/pkg/admission/plugin/policy/validating`, whose sentences these are.

use super::{
    Dynamic,
    conditions::{Expression, Failure},
    matching::{Facts, old},
    notes,
    policy::{Binding, Bound, Envs, Policy, Seen, forbidden},
};
use base::Result;
use k8s_cel::{Budget, Val, budget};
use resource::Attributes;
use schema::Catalog;
use value::{Str, Value, value};

/// What a validating policy does.
pub struct Validations {
    validations: Vec<Validation>,
    /// `auditAnnotations` with their keys, which fail where they are neither text nor null.
    annotations: Vec<(Str, Expression)>,
}

struct Validation {
    expression: Expression,
    message: Str,
    message_expression: Option<Expression>,
    reason: Str,
}

/// One refusal.
#[derive(Debug, Clone, PartialEq)]
struct Denial {
    message: String,
    /// Empty for `Invalid`.
    reason: Str,
    /// Which of the validations it is.
    index: usize,
}

/// What a policy says of a request.
#[derive(Debug, Default)]
struct Findings {
    denials: Vec<Denial>,
    /// Refused whatever the binding's actions are.
    always: Vec<Denial>,
    /// For the audit log.
    annotations: Vec<(Str, String)>,
}

impl Denial {
    fn error(message: String) -> Self {
        Denial { message, reason: Str::default(), index: 0 }
    }
}

impl Validations {
    pub fn of(spec: &Value, envs: &Envs) -> Self {
        let validation = |v: &Value| Validation {
            expression: Expression::compile(&envs.full, v.str_at(&["expression"])),
            message: v.str_at(&["message"]).trim().into(),
            message_expression: Some(v.str_at(&["messageExpression"]))
                .filter(|text| !text.is_empty())
                .map(|text| Expression::compile(&envs.plain, text)),
            reason: v.str_at(&["reason"]).into(),
        };
        let annotation = |v: &Value| {
            (v.str_at(&["key"]).into(), Expression::compile(&envs.full, v.str_at(&["valueExpression"]).trim()))
        };
        Validations {
            validations: spec.items_at(&["validations"]).iter().map(validation).collect(),
            annotations: spec.items_at(&["auditAnnotations"]).iter().map(annotation).collect(),
        }
    }
}

impl Policy<Validations> {
    /// What is wrong with a request, for one parameter.
    fn evaluate(&self, seen: &Seen, params: &Value) -> Findings {
        let failed = |text: String| if self.fails_open { None } else { Some(Denial::error(text)) };
        let activation = self.activation(seen, params);
        match self.conditions.matches(&activation) {
            Ok(true) => {}
            Ok(false) => return Default::default(),
            Err(why) => return Findings { denials: failed(why).into_iter().collect(), ..Findings::default() },
        }
        let mut budget = Budget::default();
        let mut values = Vec::with_capacity(self.work.validations.len());
        for validation in &self.work.validations {
            match validation.expression.eval(&activation, &mut budget) {
                Err(Failure::Budget(text)) => {
                    return Findings { denials: failed(text).into_iter().collect(), ..Findings::default() };
                }
                Err(Failure::Error(text)) => values.push(Err(text)),
                Ok(val) => values.push(Ok(val.as_bool() == Some(true))),
            }
        }
        let mut denials = Vec::new();
        for (index, (validation, value)) in self.work.validations.iter().zip(values).enumerate() {
            match value {
                Ok(true) => {}
                Err(text) => denials.extend(failed(text).map(|denial| Denial { index, ..denial })),
                Ok(false) => {
                    let own = validation.message_expression.as_ref();
                    let own = own.and_then(|e| e.eval(&activation, &mut budget).ok());
                    let message = message(own.as_ref().and_then(Val::as_str), validation);
                    denials.push(Denial { message, reason: validation.reason.clone(), index });
                }
            }
        }
        let mut budget = Budget::default();
        let (mut always, mut annotations) = (Vec::new(), Vec::new());
        for (key, annotation) in &self.work.annotations {
            match annotation.eval(&activation, &mut budget) {
                Ok(Val::Null) => {}
                Ok(said @ Val::String(_)) => {
                    // What says nothing is not published.
                    let said = said.as_str().map(str::trim).filter(|said| !said.is_empty());
                    annotations.extend(said.map(|said| (key.clone(), said.to_string())));
                }
                Ok(other) => always.extend(failed(format!(
                    "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
                    annotation.text,
                    other.type_of().name()
                ))),
                Err(why) => always.extend(failed(why.text())),
            }
        }
        Findings { denials, always, annotations }
    }
}

/// The message of the expression where it is one, else the given one, else the expression itself.
fn message(evaluated: Option<&str>, validation: &Validation) -> String {
    let fits = |text: &&str| !text.is_empty() && text.len() <= budget::MESSAGE_SIZE && !text.contains('\n');
    match evaluated.map(str::trim).filter(fits) {
        Some(text) => text.into(),
        None if !validation.message.is_empty() => validation.message.to_string(),
        None => format!("failed expression: {}", validation.expression.text.trim()),
    }
}

impl Dynamic {
    /// All policies; the first refusal counts.
    pub async fn validate_by_policies(
        &self,
        policies: &[Bound<Validations>],
        a: &mut Attributes<'_>,
        catalog: &Catalog,
    ) -> Result<()> {
        let mut refusal: Option<(String, Denial)> = None;
        for Bound { policy, bindings } in policies {
            let name = &policy.name;
            let configured = |binding: Option<&Binding>, why: &str| -> Option<(String, Denial)> {
                let (what, of) = match binding {
                    Some(b) => ("binding", format!("'{name}' with binding '{}'", b.name)),
                    None => ("policy", format!("'{name}'")),
                };
                (!policy.fails_open).then(|| (of, Denial::error(format!("failed to configure {what}: {why}"))))
            };
            let facts = Facts::of(a.call, a.operation, &a.name);
            let version = match policy.criteria.matches(&facts, &a.object, old(a), a.view) {
                Ok(None) => continue,
                Ok(Some(version)) => version,
                Err(status) => {
                    refusal = refusal.or(configured(None, status.message()));
                    continue;
                }
            };
            let mut seen = None;
            let mut warnings = Vec::new();
            let mut noted = notes::OfPolicy::default();
            for binding in bindings {
                let params = match binding.matches(&facts, a) {
                    Ok(false) => continue,
                    Ok(true) => policy.params(binding, &facts, catalog, a).await,
                    Err(status) => Err(status.message().to_string()),
                };
                let params = match params {
                    Ok(params) => params,
                    Err(why) => {
                        refusal = refusal.or(configured(Some(binding), &why));
                        continue;
                    }
                };
                let seen = match &seen {
                    Some(seen) => seen,
                    None => seen.insert(Seen::of(a, version, self.authorizer.get()).await?),
                };
                for params in &params {
                    let Findings { denials, always, annotations } = policy.evaluate(seen, params);
                    annotations.iter().for_each(|(key, value)| noted.add(key, value));
                    let acts = |name: &str| binding.actions.iter().any(|action| action == name);
                    for denial in &denials {
                        if acts("Audit") {
                            notes::validation_failure(&a.options.notes, binding, denial.index, &denial.message);
                        }
                        if acts("Warn") {
                            warnings.push(format!(
                                "Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{}': {}",
                                binding.name, denial.message
                            ));
                        }
                    }
                    let denies = acts("Deny");
                    let counted = denials.into_iter().filter(|_| denies).chain(always);
                    let of = || format!("'{name}' with binding '{}'", binding.name);
                    refusal = refusal.or_else(|| counted.into_iter().next().map(|denial| (of(), denial)));
                }
            }
            drop(seen);
            noted.publish(&a.options.notes, name);
            a.warnings.append(&mut warnings);
        }
        let Some((of, Denial { message, reason, .. })) = refusal else { return Ok(()) };
        let text = format!("ValidatingAdmissionPolicy {of} denied request: {message}");
        Err(forbidden(a, &text, |status| {
            let reason = if reason.is_empty() { "Invalid" } else { reason.as_str() };
            status.set(&["reason"], reason);
            let code = match reason {
                "Forbidden" => 403,
                "Unauthorized" => 401,
                "RequestEntityTooLarge" => 413,
                _ => 422,
            };
            status.set(&["code"], code);
            status.set(&["details", "causes"], value!([{"message": (text.as_str())}]));
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::conditions::Rights;
    use super::*;
    use crate::testing::call;
    use expect_test::{Expect, expect};
    use schema::Operation;

    fn check(spec: Value, object: Value, params: Value, want: Expect) {
        let policy = Policy::of(&value!({"metadata": {"name": "p"}, "spec": spec}), false, Validations::of);
        let call = call("", "pods", &["v1"], "ns", "web", "");
        let facts = Facts::of(&call, Operation::Update, "web");
        let seen = Seen {
            object,
            old: Value::Null,
            request: super::super::review::request(&facts, 0, &resource::WriteOptions::default()),
            namespace: value!({"metadata": {"name": "ns", "labels": {"env": "prod"}}}),
            rights: Rights::of(None, &facts),
        };
        let Findings { denials, always, .. } = policy.evaluate(&seen, &params);
        let shown = |d: &Denial| format!("{} {}", d.reason, d.message).trim().to_string();
        want.assert_eq(&denials.iter().chain(&always).map(shown).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn what_a_policy_says() {
        let object = || value!({"spec": {"n": 5}});
        let of = |v: Value| value!({"validations": [v]});
        check(of(value!({"expression": "object.spec.n <= 5"})), object(), Value::Null, expect![""]);
        check(
            of(value!({"expression": " object.spec.n < 5 "})),
            object(),
            Value::Null,
            expect!["failed expression: object.spec.n < 5"],
        );
        check(
            of(value!({"expression": "object.spec.n < 5", "message": "too many", "reason": "Forbidden"})),
            object(),
            Value::Null,
            expect!["Forbidden too many"],
        );
        check(
            of(value!({"expression": "false", "message": "m", "messageExpression": "'n is ' + string(object.spec.n)"})),
            object(),
            Value::Null,
            expect!["n is 5"],
        );
        check(
            of(value!({"expression": "object.spec.x == 1"})),
            object(),
            Value::Null,
            expect!["expression 'object.spec.x == 1' resulted in error: no such key: x"],
        );
        check(
            value!({"failurePolicy": "Ignore", "validations": [{"expression": "object.spec.x == 1"}]}),
            object(),
            Value::Null,
            expect![""],
        );
        check(
            value!({"matchConditions": [{"name": "a", "expression": "request.name == 'db'"}], "validations": [{"expression": "false"}]}),
            object(),
            Value::Null,
            expect![""],
        );
    }

    #[test]
    fn what_expressions_see() {
        check(
            value!({
                "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
                "variables": [
                    {"name": "n", "expression": "object.spec.n"},
                    {"name": "limit", "expression": "variables.n > 0 ? int(params.data.max) : 0"},
                ],
                "validations": [
                    {"expression": "variables.n <= variables.limit", "messageExpression": "'limit ' + string(variables.limit)"},
                    {"expression": "namespaceObject.metadata.labels.env != 'prod'", "message": "not in production"},
                    {"expression": "oldObject == null && request.operation == 'UPDATE'"},
                    {"expression": "authorizer.requestResource.check('delete').allowed()", "message": "you may not"},
                ],
                "auditAnnotations": [{"key": "a", "valueExpression": "'n'"}, {"key": "b", "valueExpression": "1"}],
            }),
            value!({"spec": {"n": 5}}),
            value!({"data": {"max": "3"}}),
            expect![[r#"
                limit 3
                not in production
                you may not
                valueExpression '1' resulted in unsupported return type: int. Return type must be either string or null."#]],
        );
    }
}
