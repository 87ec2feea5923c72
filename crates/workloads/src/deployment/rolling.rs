//! The arithmetic of a rolling update. Source: `pkg/controller/deployment/{rolling,sync}.go`.

use super::set::Set;
use value::{Str, Value};

/// `spec.replicas` and the two bounds of the strategy, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub wanted: i64,
    pub surge: i64,
    pub unavailable: i64,
}

impl Bounds {
    pub fn of(deployment: &Value) -> Self {
        let wanted = deployment.at(&["spec", "replicas"]).as_i64().unwrap_or(1).max(0);
        if deployment.str_at(&["spec", "strategy", "type"]) == "Recreate" {
            return Bounds { wanted, surge: 0, unavailable: wanted };
        }
        let strategy = deployment.at(&["spec", "strategy", "rollingUpdate"]);
        let surge = resolve(strategy.at(&["maxSurge"]), wanted, true);
        let mut unavailable = resolve(strategy.at(&["maxUnavailable"]), wanted, false).min(wanted);
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Bounds { wanted, surge, unavailable }
    }
    /// The most pods that may exist at a time.
    pub fn most(self) -> i64 {
        self.wanted + self.surge
    }
}

/// A number, or a percentage of `total`, rounded up or down; 25 % where absent.
fn resolve(v: &Value, total: i64, up: bool) -> i64 {
    if let Some(n) = v.as_i64() {
        return n.max(0);
    }
    let percent: i64 = v.as_str().unwrap_or("25%").trim_end_matches('%').parse().unwrap_or(25);
    let product = total * percent.max(0);
    if up { (product + 99) / 100 } else { product / 100 }
}

/// The next size of the new set: as large as the surge leaves room for.
pub fn grow(new: &Set, all: &[&Set], bounds: Bounds) -> i64 {
    if new.replicas >= bounds.wanted {
        return bounds.wanted;
    }
    let total: i64 = all.iter().map(|s| s.replicas).sum();
    let room = (bounds.most() - total).max(0);
    new.replicas + room.min(bounds.wanted - new.replicas)
}

/// The next sizes of old sets, those that change: first pods that are of no use, then as many as availability allows.
pub fn shrink(new: &Set, old: &[&Set], bounds: Bounds) -> Vec<(Str, i64)> {
    let total: i64 = old.iter().map(|s| s.replicas).sum::<i64>() + new.replicas;
    let least = bounds.wanted - bounds.unavailable;
    let new_unavailable = new.replicas - new.available;
    let mut budget = total - least - new_unavailable;
    if budget <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<(Str, i64, i64)> = old.iter().map(|s| (s.name.clone(), s.replicas, s.available)).collect();
    for (_, replicas, available) in &mut sizes {
        let useless = (*replicas - *available).clamp(0, budget);
        *replicas -= useless;
        budget -= useless;
    }
    let available: i64 = old.iter().map(|s| s.available).sum::<i64>() + new.available;
    let mut spare = (available - least).max(0);
    for (_, replicas, _) in &mut sizes {
        let cut = spare.min(*replicas);
        *replicas -= cut;
        spare -= cut;
    }
    let changed = sizes.into_iter().zip(old).filter(|((_, size, _), set)| *size != set.replicas);
    changed.map(|((name, size, _), _)| (name, size)).collect()
}

/// The sizes of sets when the Deployment was resized in the middle of a rollout (or is paused): the difference is shared
/// out in proportion, so that a canary stays a canary.
pub fn share(active: &[&Set], bounds: Bounds) -> Vec<(Str, i64)> {
    let total: i64 = active.iter().map(|s| s.replicas).sum();
    let allowed = if bounds.wanted > 0 { bounds.most() } else { 0 };
    let mut left = allowed - total;
    let mut order: Vec<&&Set> = active.iter().collect();
    // The larger set takes its share first; of equals the newer one when growing, the older one when shrinking.
    order.sort_by(|a, b| {
        let age = if left > 0 { b.created.cmp(&a.created) } else { a.created.cmp(&b.created) };
        b.replicas.cmp(&a.replicas).then(age)
    });
    let difference = left;
    let mut sizes = Vec::new();
    for set in &order {
        let part = if total == 0 { 0.0 } else { set.replicas as f64 * difference as f64 / total as f64 };
        let part = part.round() as i64;
        let part = if difference > 0 { part.clamp(0, left.max(0)) } else { part.clamp(left.min(0), 0) };
        left -= part;
        sizes.push((set.name.clone(), set.replicas + part));
    }
    if let Some(first) = sizes.first_mut() {
        first.1 = (first.1 + left).max(0);
    }
    sizes.retain(|(name, size)| active.iter().any(|s| s.name == *name && s.replicas != *size));
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    fn set(name: &str, replicas: i64, available: i64) -> Set {
        let object = value!({
            "metadata": {"name": name}, "spec": {"replicas": replicas},
            "status": {"replicas": replicas, "availableReplicas": available},
        });
        Set::read(&object)
    }

    fn bounds(wanted: i64, surge: &str, unavailable: &str) -> Bounds {
        Bounds::of(
            &value!({"spec": {"replicas": wanted, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}}),
        )
    }

    #[test]
    fn percentages_round_apart() {
        assert_eq!(bounds(10, "25%", "25%"), Bounds { wanted: 10, surge: 3, unavailable: 2 });
        assert_eq!(bounds(1, "0%", "0%"), Bounds { wanted: 1, surge: 0, unavailable: 1 });
    }

    #[test]
    fn a_rollout_of_four_step_by_step() {
        let b = bounds(4, "25%", "25%");
        let (mut old, mut new) = (set("old", 4, 4), set("new", 0, 0));
        let mut steps = Vec::new();
        for _ in 0..10 {
            let grown = grow(&new, &[&new, &old], b);
            if grown != new.replicas {
                new = set("new", grown, new.available);
            } else if let Some((_, size)) = shrink(&new, &[&old], b).pop() {
                old = set("old", size, old.available.min(size));
            } else {
                new = set("new", new.replicas, new.replicas);
            }
            steps.push(format!("{}/{}", old.replicas, new.replicas));
            if old.replicas == 0 && new.available == 4 {
                break;
            }
        }
        assert_eq!(steps.join(" "), "4/1 3/1 3/2 3/2 1/2 1/4 1/4 0/4");
    }

    #[test]
    fn pods_of_no_use_go_first() {
        let b = bounds(10, "0%", "20%");
        let old = [set("bad", 5, 0), set("good", 5, 5)];
        let new = set("new", 0, 0);
        assert_eq!(shrink(&new, &[&old[0], &old[1]], b), [("bad".into(), 3)]);
    }

    #[test]
    fn a_resize_is_shared_out() {
        let b = bounds(20, "0%", "1%");
        let (old, new) = (set("old", 8, 8), set("new", 2, 2));
        assert_eq!(share(&[&old, &new], b), [("old".into(), 16), ("new".into(), 4)]);
        let b = bounds(5, "0%", "1%");
        assert_eq!(share(&[&old, &new], b), [("old".into(), 4), ("new".into(), 1)]);
    }
}
