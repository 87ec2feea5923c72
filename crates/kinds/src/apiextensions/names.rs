//! Which names a definition gets. Plural, singular and short names share one space per group, kind and list kind
//! another; who comes first keeps its names. Upstream decides this in controllers after the fact; here it is decided in
//! the write itself, so that a definition is established when its creation answers.

use base::time::{self, Timestamp};
use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};
use value::{Object, Value, value};

/// Names of built-in kinds by group: no definition may take them.
static BUILTIN: LazyLock<BTreeSet<(String, String)>> = LazyLock::new(|| {
    let catalog = crate::builtin();
    let names = catalog.served().flat_map(|(kind, version)| {
        let group = kind.group_version(version).0.to_string();
        let names = [&kind.plural, &kind.singular, &kind.kind, &kind.list_kind].into_iter().chain(&kind.short_names);
        names.map(|name| (group.clone(), name.to_string())).collect::<Vec<_>>()
    });
    names.collect()
});

/// Writes `status.acceptedNames` and the conditions `NamesAccepted` and `Established`.
pub fn accept(crd: &mut Value, others: &[Arc<Object>], now: Timestamp) {
    let group = crd.str_at(&["spec", "group"]).to_string();
    let taken = taken(&group, crd.name(), others);
    let asked = crd.at(&["spec", "names"]).clone();
    let mut accepted = crd.at(&["status", "acceptedNames"]).clone();
    let mut conflict = None;
    for (field, reason) in [
        ("plural", "PluralConflict"),
        ("singular", "SingularConflict"),
        ("kind", "KindConflict"),
        ("listKind", "ListKindConflict"),
    ] {
        let name = asked.str_at(&[field]);
        if accepted.str_at(&[field]) != name && taken.contains(name) {
            conflict = Some((reason, name.to_string()));
        } else {
            accepted.set(&[field], name);
        }
    }
    let own = accepted.items_at(&["shortNames"]).to_vec();
    let short = asked.items_at(&["shortNames"]);
    let fresh = |name: &&Value| !own.contains(name) && taken.contains(name.as_str().unwrap_or(""));
    match short.iter().find(fresh) {
        Some(name) => conflict = Some(("ShortNamesConflict", name.as_str().unwrap_or("").into())),
        None => copy(&mut accepted, &asked, "shortNames"),
    }
    copy(&mut accepted, &asked, "categories");
    crd.set(&["status", "acceptedNames"], accepted);

    let was = crate::cells::condition(crd, "Established").is_some_and(|c| c.str_at(&["status"]) == "True");
    match conflict {
        None => {
            condition(crd, now, ["NamesAccepted", "True", "NoConflicts", "no conflicts found"]);
            let text = "the initial names have been accepted";
            condition(crd, now, ["Established", "True", "InitialNamesAccepted", text]);
        }
        Some((reason, name)) => {
            let text = format!("{} is already in use", base::status::quote(&name));
            condition(crd, now, ["NamesAccepted", "False", reason, &text]);
            // What is served stays served.
            if !was {
                condition(crd, now, ["Established", "False", "NotAccepted", "not all names are accepted"]);
            }
        }
    }
}

fn copy(accepted: &mut Value, asked: &Value, field: &str) {
    match asked.at(&[field]) {
        Value::Null => drop(accepted.remove(&[field])),
        names => accepted.set(&[field], names),
    }
}

/// The names in use in a group.
fn taken(group: &str, but: &str, others: &[Arc<Object>]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> =
        BUILTIN.iter().filter(|(of, _)| of == group).map(|(_, name)| name.clone()).collect();
    for other in others.iter().filter(|other| other.name() != but) {
        let other = other.value();
        if other.str_at(&["spec", "group"]) != group {
            continue;
        }
        let accepted = other.at(&["status", "acceptedNames"]);
        let fields = ["plural", "singular", "kind", "listKind"].map(|field| accepted.str_at(&[field]));
        let short = accepted.items_at(&["shortNames"]).iter().filter_map(Value::as_str);
        names.extend(fields.into_iter().chain(short).filter(|n| !n.is_empty()).map(String::from));
    }
    names
}

/// Sets a condition; its time moves only when its status does.
fn condition(crd: &mut Value, now: Timestamp, [ty, status, reason, message]: [&str; 4]) {
    let mut list = crd.items_at(&["status", "conditions"]).to_vec();
    let old = list.iter().position(|c| c.str_at(&["type"]) == ty);
    let since = old.map(|i| &list[i]).filter(|c| c.str_at(&["status"]) == status);
    let since = since.map_or_else(|| time::seconds(now), |c| c.str_at(&["lastTransitionTime"]).to_string());
    let new = value!({"type": ty, "status": status, "reason": reason, "message": message, "lastTransitionTime": since});
    match old {
        Some(i) => list[i] = new,
        None => list.push(new),
    }
    crd.set(&["status", "conditions"], list);
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use value::{Meta, ObjectKey};

    fn crd(name: &str, names: Value) -> Value {
        let mut obj = value!({"metadata": {"name": name}, "spec": {"group": "example.com"}});
        obj.set(&["spec", "names"], names);
        obj
    }

    fn stored(mut obj: Value) -> Arc<Object> {
        accept(&mut obj, &[], Timestamp::UNIX_EPOCH);
        let key = ObjectKey::cluster(obj.name());
        Object::new(key, base::Revision(1), Meta::default(), obj.to_json().into())
    }

    #[track_caller]
    fn check(names: Value, others: &[Arc<Object>], want: Expect) {
        let mut obj = crd("new", names);
        accept(&mut obj, others, Timestamp::UNIX_EPOCH);
        let conditions = obj.items_at(&["status", "conditions"]).iter();
        let lines = conditions.map(|c| {
            let part = |field| c.str_at(&[field]);
            format!("{}={} {}: {}", part("type"), part("status"), part("reason"), part("message"))
        });
        want.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn the_first_keeps_its_names() {
        let lamp = value!({"plural": "lamps", "singular": "lamp", "kind": "Lamp", "listKind": "LampList", "shortNames": ["l"]});
        let others = [stored(crd("lamps.example.com", lamp.clone()))];
        check(
            lamp.clone(),
            &[],
            expect![[r#"
            NamesAccepted=True NoConflicts: no conflicts found
            Established=True InitialNamesAccepted: the initial names have been accepted"#]],
        );
        check(
            lamp,
            &others,
            expect![[r#"
            NamesAccepted=False ShortNamesConflict: "l" is already in use
            Established=False NotAccepted: not all names are accepted"#]],
        );
        let light = value!({"plural": "lights", "singular": "light", "kind": "Lamp", "listKind": "LightList"});
        check(
            light,
            &others,
            expect![[r#"
            NamesAccepted=False KindConflict: "Lamp" is already in use
            Established=False NotAccepted: not all names are accepted"#]],
        );
    }

    #[test]
    fn built_in_names_are_taken() {
        let mut obj = crd("roles.rbac.authorization.k8s.io", value!({"plural": "roles", "kind": "Mine"}));
        obj.set(&["spec", "group"], "rbac.authorization.k8s.io");
        accept(&mut obj, &[], Timestamp::UNIX_EPOCH);
        assert_eq!(obj.items_at(&["status", "conditions"])[0].str_at(&["reason"]), "PluralConflict");
    }
}
