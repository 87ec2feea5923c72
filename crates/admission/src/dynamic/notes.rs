//! What webhooks and policies leave in the audit log. Source: the annotators of
//! `apiserver/pkg/admission/plugin/{webhook,policy}`, whose keys and forms these are.

use super::{hook::Hook, policy::Binding};
use resource::Notes;
use value::{Map, Value, value};

/// The most of an annotation's value that a policy may say, in bytes.
const LONGEST: usize = 10 * 1024;

/// `round_0_index_1`: which call it was.
fn place(again: bool, index: usize) -> String {
    format!("round_{}_index_{index}", u8::from(again))
}

/// Whether a webhook has changed the object, and how where the request's body may be told.
pub fn mutation(notes: &Notes, hook: &Hook, (again, index): (bool, usize), changed: bool, patch: Option<&[u8]>) {
    let place = place(again, index);
    let of = || value!({"configuration": (hook.configuration.as_str()), "webhook": (hook.name.as_str())});
    notes.add(format!("mutation.webhook.admission.k8s.io/{place}"), || {
        let mut value = of();
        value.set(&["mutated"], changed);
        value.to_string()
    });
    if let (true, Some(patch)) = (notes.of_bodies(), patch.and_then(|patch| value::parse_lenient(patch).ok())) {
        notes.add(format!("patch.webhook.admission.k8s.io/{place}"), || {
            let mut value = of();
            value.set(&["patch"], patch);
            value.set(&["patchType"], "JSONPatch");
            value.to_string()
        });
    }
}

/// A webhook could not be asked, and its configuration lets the request pass all the same.
pub fn failed_open(notes: &Notes, kind: &str, hook: &Hook, (again, index): (bool, usize)) {
    let key = format!("failed-open.{kind}.webhook.admission.k8s.io/{}", place(again, index));
    notes.add(key, || hook.name.to_string());
}

/// What a webhook itself wants to be noted.
pub fn of_webhook(notes: &Notes, hook: &Hook, annotations: &[(String, String)]) {
    for (key, value) in annotations {
        notes.add(format!("{}/{key}", hook.name), || value.clone());
    }
}

/// A validation that failed, where its binding says `Audit`.
pub fn validation_failure(notes: &Notes, binding: &Binding, index: usize, message: &str) {
    notes.add("validation.policy.admission.k8s.io/validation_failure", || {
        let actions: Value = binding.actions.iter().map(|action| action.as_str()).collect();
        value!([{
            "message": message, "policy": (binding.policy.as_str()), "binding": (binding.name.as_str()),
            "expressionIndex": (i64::try_from(index).unwrap_or(i64::MAX)), "validationActions": actions,
        }])
        .to_string()
    });
}

/// What the bindings of a policy say under its keys: each value once, joined where there are several.
#[derive(Debug, Default)]
pub struct OfPolicy(Vec<(String, Vec<String>)>);

impl OfPolicy {
    pub fn add(&mut self, key: &str, value: &str) {
        let mut end = value.len().min(LONGEST);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        let value = value[..end].to_string();
        match self.0.iter_mut().find(|(have, _)| have == key) {
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
            None => self.0.push((key.into(), vec![value])),
        }
    }
    pub fn publish(self, notes: &Notes, policy: &str) {
        for (key, values) in self.0 {
            notes.add(format!("{policy}/{key}"), || values.join(", "));
        }
    }
}

/// `auditAnnotations` of a webhook's answer.
pub fn annotations(answer: &Value) -> Vec<(String, String)> {
    let map = answer.at(&["auditAnnotations"]).as_object().cloned().unwrap_or_else(Map::default);
    map.iter().filter_map(|(key, value)| Some((key.to_string(), value.as_str()?.to_string()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_bindings_are_joined() {
        let mut all = OfPolicy::default();
        for (key, value) in [("a", "1"), ("a", "2"), ("a", "1"), ("b", &"é".repeat(LONGEST))] {
            all.add(key, value);
        }
        let notes = Notes::kept(false);
        all.publish(&notes, "p.example.com");
        let told = notes.all();
        assert_eq!(told[0], ("p.example.com/a".to_string(), "1, 2".to_string()));
        assert_eq!((told[1].1.len(), told[1].1.chars().count()), (LONGEST, LONGEST / 2));
    }
}
