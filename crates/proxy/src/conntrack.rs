//! Which tracked UDP flows a change left behind. The kernel translates a flow as its first packet was, for as long as packets keep
//! coming; UDP has no end that would make it look again.

use std::collections::{BTreeMap, BTreeSet};

use netlink::conntrack::Flow;

use crate::input::Protocol;
use crate::ruleset::{Frontend, Ruleset, Target};

/// The flows that go where the new ruleset would not send them. `flows` are UDP flows, as the kernel lists them.
pub fn stale<'a>(flows: impl IntoIterator<Item = &'a Flow>, old: &Ruleset, new: &Ruleset) -> Vec<Flow> {
    let mut reachable: BTreeMap<Frontend, BTreeSet<Target>> = BTreeMap::new();
    let mut found = Vec::new();
    for flow in flows {
        let (address, port) = flow.original.destination;
        let frontend = Frontend { protocol: Protocol::Udp, address, port };
        let target = Target { address: flow.reply.source.0, port: flow.reply.source.1 };
        let known = |r: &Ruleset| r.services.contains_key(&frontend) || r.refused.contains_key(&frontend);
        let untranslated = flow.reply.source == flow.original.destination;
        // Once no service claims an address, what goes to it untranslated is none of ours.
        if known(new) || known(old) && !untranslated {
            let allowed = reachable.entry(frontend).or_insert_with(|| new.reachable(&frontend));
            if !allowed.contains(&target) {
                found.push(*flow);
            }
        }
    }
    found
}
