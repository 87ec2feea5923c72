//! Properties that hold for any object: nothing panics, decoding and defaulting are idempotent.

use schema::{builtin, decode};
use value::{Value, value};

/// A small generator of our own, so that a failing case can be repeated from its number.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
    fn value(&mut self) -> Value {
        match self.roll(12) {
            0 => Value::Null,
            1 => true.into(),
            2 => Value::Int(self.roll(5) as i64 - 2),
            3 => Value::Int(i64::MAX),
            4 => Value::Float(1.5),
            5 => "".into(),
            6 => "1Gi".into(),
            7 => "2026-01-01T00:00:00Z".into(),
            8 => "YQ==".into(),
            9 => value!([]),
            10 => value!({"name": "x", "": null}),
            _ => value!([null, {"name": 1}, "a"]),
        }
    }
    /// Replaces, removes or adds something somewhere.
    fn mutate(&mut self, value: &mut Value) {
        match value {
            Value::Object(map) if !map.is_empty() && self.roll(5) > 0 => {
                let pick = self.roll(map.len());
                if let Some((_, member)) = map.iter_mut().nth(pick) {
                    self.mutate(member);
                }
            }
            Value::Array(items) if !items.is_empty() && self.roll(5) > 0 => {
                let pick = self.roll(items.len());
                self.mutate(&mut items[pick]);
            }
            other => *other = self.value(),
        }
    }
}

fn pod() -> Value {
    value!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"a": "b"}, "finalizers": ["x"],
        "creationTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [{"uid": "u", "controller": true}]},
        "spec": {"nodeSelector": {"a": "b"}, "hostNetwork": true, "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
            "containers": [{"name": "c", "image": "i", "command": ["a", "b"], "env": [{"name": "A", "value": "1"}],
                "ports": [{"containerPort": 80}], "readinessProbe": {"httpGet": {"port": "http"}},
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastProbeTime": null}]}})
}

#[test]
fn decoding_and_defaulting_are_idempotent() {
    let schema = builtin::of("", "v1", "Pod").unwrap();
    let mut accepted = 0;
    for case in 1..3000_u64 {
        let mut dice = Dice(case.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut object = pod();
        for _ in 0..=dice.roll(4) {
            dice.mutate(&mut object);
        }
        if decode(&schema, &mut object).is_err() {
            continue;
        }
        accepted += 1;
        let once = object.clone();
        assert_eq!(decode(&schema, &mut object).as_deref(), Ok(&[][..]), "case {case}: {once}");
        assert_eq!(object, once, "case {case}");
        schema::apply_defaults(&schema, &mut object);
        let defaulted = object.clone();
        schema::apply_defaults(&schema, &mut object);
        assert_eq!(object, defaulted, "case {case}");
        assert_eq!(decode(&schema, &mut object).as_deref(), Ok(&[][..]), "case {case}: defaults are of the right type");
    }
    assert!(accepted > 200, "{accepted}");
}
