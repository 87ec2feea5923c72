//! Flow control over objects: who gets in while others flood.

use super::*;
use crate::query::Query;
use base::Revision;
use futures::FutureExt;
use http::Method;
use value::{Meta, Object, ObjectKey, Value, value};

fn object(value: Value) -> Arc<Object> {
    let key = ObjectKey::new("", value.name());
    Object::new(key, Revision(1), Meta::of(&value, Box::default()), value.to_json().into())
}

fn level(name: &str, shares: i64, response: Value) -> Arc<Object> {
    let limited = value!({"nominalConcurrencyShares": shares, "lendablePercent": 50, "limitResponse": response});
    object(
        value!({"metadata": {"name": name, "uid": (format!("level-{name}"))}, "spec": {"type": "Limited", "limited": limited}}),
    )
}

fn schema(name: &str, level: &str, precedence: i64, group: &str) -> Arc<Object> {
    let everything =
        value!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true});
    object(value!({"metadata": {"name": name, "uid": (format!("schema-{name}"))}, "spec": {
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "Group", "group": {"name": group}}], "resourceRules": [everything]}],
    }}))
}

fn queue() -> Value {
    value!({"type": "Queue", "queuing": {"queues": 64, "handSize": 4, "queueLengthLimit": 5}})
}

/// Two levels of 40 seats, and 520 for everybody else.
fn control() -> FlowControl {
    let flow = FlowControl::new(&Registry::default());
    let levels =
        [level("low", 40, queue()), level("nodes", 40, queue()), level("catch-all", 520, value!({"type": "Reject"}))];
    let schemas = [
        schema("exempt", "exempt", 1, "system:masters"),
        schema("nodes", "nodes", 400, "system:nodes"),
        schema("workers", "low", 9000, "system:authenticated"),
        schema("lost", "nowhere", 3, "system:authenticated"),
    ];
    let references = flow.set(&schemas, &levels);
    let dangling: Vec<&str> = references.iter().filter(|r| !r.found).map(|r| r.schema.name()).collect();
    assert_eq!(dangling, ["lost"]);
    flow
}

const LISTS: &str = "/api/v1/pods";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1";

/// One request: `None` where it waits.
fn ask(flow: &FlowControl, user: &User, path: &str, objects: usize) -> Option<Result<Seat, u16>> {
    let info = RequestInfo::parse(&Method::GET, path, &Query::default());
    let schema = flow.classify(user, &info);
    let seat = flow.seat(&schema, user, &info, || objects).now_or_never()?;
    Some(seat.map_err(|status| status.code()))
}

#[test]
fn requests_are_classified() {
    let flow = control();
    let named = |user: &User, path: &str| {
        let info = RequestInfo::parse(&Method::GET, path, &Query::default());
        let schema = flow.classify(user, &info);
        // What is remembered says the same.
        assert!(Arc::ptr_eq(&schema, &flow.classify(user, &info)));
        schema.headers().map(|(_, value)| value.to_str().expect("a uid").to_string())
    };
    let (alice, node) = (
        User::new("alice", ["system:authenticated"]),
        User::new("system:node:n1", ["system:nodes", "system:authenticated"]),
    );
    assert_eq!(named(&alice, LISTS), ["schema-workers", "level-low"]);
    assert_eq!(named(&node, LEASE), ["schema-nodes", "level-nodes"]);
    assert_eq!(named(&User::master("root"), LISTS)[0], "schema-exempt");
    assert_eq!(named(&alice, "/apis"), ["", "level-catch-all"]);
    // The same name in other groups is somebody else.
    assert_eq!(named(&User::new("alice", []), LISTS), ["", "level-catch-all"]);
    assert_eq!(named(&User::new("alice", ["system:nodes"]), LISTS), ["schema-nodes", "level-nodes"]);
}

#[tokio::test]
async fn a_flood_holds_up_nobody_else() {
    let flow = Arc::new(control());
    let (loud, quiet) = (User::new("loud", ["system:authenticated"]), User::new("quiet", ["system:authenticated"]));
    let node = User::new("system:node:n1", ["system:nodes", "system:authenticated"]);
    // It lists 5,000 objects in a loop, over many connections.
    let info = RequestInfo::parse(&Method::GET, LISTS, &Query::default());
    let class = flow.classify(&loud, &info);
    let (mut seats, mut waiting, mut refused) = (Vec::new(), Vec::new(), 0);
    for _ in 0..1000 {
        let mut asked = Box::pin(flow.seat(&class, &loud, &info, || 5000));
        match (&mut asked).now_or_never() {
            Some(Ok(seat)) => seats.push(seat),
            Some(Err(status)) => {
                assert_eq!((status.code(), status.retry_after()), (429, Some(1)));
                refused += 1;
            }
            // The client is still there.
            None => waiting.push(asked),
        }
    }
    // Six seats each; a hand of four queues of five.
    assert_eq!((seats.len(), waiting.len(), refused), (6, 20, 974));
    // Leases do not wait at all, nor does the administrator.
    for _ in 0..30 {
        seats.push(ask(&flow, &node, LEASE, 0).expect("it does not wait").expect("a seat"));
        seats.push(ask(&flow, &User::master("root"), LISTS, 5000).expect("it does not wait").expect("a seat"));
    }
    // Somebody else of the same level waits for one seat to be given back, in front of those who came before.
    let info = RequestInfo::parse(&Method::GET, LEASE, &Query::default());
    let class = flow.classify(&quiet, &info);
    let mut asked = Box::pin(flow.seat(&class, &quiet, &info, || 0));
    while (&mut asked).now_or_never().is_none() {
        assert!(!seats.is_empty());
        drop(seats.remove(0));
    }
    assert!(seats.len() >= 60, "{}", seats.len());
}

#[tokio::test]
async fn who_waits_begins_when_a_seat_is_free_and_who_goes_leaves_none_behind() {
    let flow = Arc::new(control());
    let alice = User::new("alice", ["system:authenticated"]);
    let mut seats: Vec<Seat> =
        (0..40).map(|_| ask(&flow, &alice, LEASE, 0).expect("no wait").expect("a seat")).collect();
    let spawn = || {
        let (flow, alice) = (flow.clone(), alice.clone());
        tokio::spawn(async move {
            let info = RequestInfo::parse(&Method::GET, LEASE, &Query::default());
            let class = flow.classify(&alice, &info);
            flow.seat(&class, &alice, &info, || 0).await.map_err(|s| s.code())
        })
    };
    let (first, second) = (spawn(), spawn());
    tokio::task::yield_now().await;
    let dump = |what: &str, query: Option<&str>| {
        let path = format!("/debug/api_priority_and_fairness/{what}");
        dump::answer(&flow, &path, &Query::parse(query), base::time::Timestamp::UNIX_EPOCH).expect("a dump")
    };
    assert!(
        dump("dump_requests", None).lines().any(|line| line.starts_with("low,               workers,")),
        "{}",
        dump("dump_requests", None)
    );
    let details = dump("dump_requests", Some("includeRequestDetails=1"));
    let line = details.lines().find(|line| line.starts_with("low,")).expect("who waits");
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    assert_eq!((cells.len(), &cells[6..9]), (18, &["1", "0", "0s"][..]), "{line}");
    assert_eq!(cells[10..13], ["alice", "get", LEASE], "{line}");
    let queues = dump("dump_queues", None);
    let header: Vec<&str> = queues.lines().next().expect("a header").split(',').map(str::trim).collect();
    assert_eq!(header.len(), 9);
    let rows = queues.lines().map(|line| line.split(',').map(str::trim).collect::<Vec<_>>());
    let busy: Vec<Vec<&str>> = rows.filter(|row| row[0] == "low" && row[2] != "0").collect();
    assert!(!busy.is_empty(), "{queues}");
    for row in busy {
        let waiting: f64 = row[2].parse().expect("a number");
        assert_eq!((row[6], row[7], row[8]), (row[2], row[2], &*format!("{:.8}ss", waiting * 0.003)), "{queues}");
    }
    first.abort();
    assert!(first.await.is_err());
    seats.pop();
    let second = second.await.expect("no panic").expect("a seat");
    drop((seats, second));
    let low = flow.table().levels.iter().find(|entry| entry.level.name == "low").expect("a level").level.clone();
    assert_eq!(low.look(|queues| (queues.in_use(), queues.waiting(), queues.executing())), (0, 0, 0));
}

#[tokio::test]
async fn a_busy_level_borrows() {
    let flow = control();
    let alice = User::new("alice", ["system:authenticated"]);
    let mut seats: Vec<Seat> = (0..40).filter_map(|_| ask(&flow, &alice, LEASE, 0)?.ok()).collect();
    assert_eq!(seats.len(), 40);
    assert!(ask(&flow, &alice, LEASE, 0).is_none());
    flow.adjust();
    seats.extend((0..200).filter_map(|_| ask(&flow, &alice, LEASE, 0)?.ok()));
    assert!(seats.len() > 40, "{}", seats.len());
    let levels = flow.table();
    let limit = |name: &str| levels.levels.iter().find(|e| e.level.name == name).map(|e| e.level.look(|q| q.seats()));
    // Who lends keeps what is its own.
    assert!(
        limit("nodes") >= Some(20) && limit("catch-all") >= Some(260),
        "{:?} {:?}",
        limit("nodes"),
        limit("catch-all")
    );
}

#[test]
fn a_list_is_as_wide_as_what_it_passes() {
    for (objects, most, want) in [(0, 10, 1), (100, 10, 1), (101, 10, 2), (5000, 10, 10), (5000, 4, 4), (5000, 0, 1)] {
        assert_eq!(width(objects, most), want, "{objects}");
    }
}
