//! `bench <root> <cgroup> <image> <pods>`: how long the runtime takes for a sandbox and a container, one pod at a time.

use std::time::{Duration, Instant};

use cri::{ContainerConfig, NamespaceMode, PodSandboxConfig, RuntimeService};

/// Prints medians and the 99th percentile in microseconds.
pub fn run(args: &[String]) {
    let tokio = tokio::runtime::Runtime::new().expect("tokio");
    let pods: usize = args[3].parse().expect("number");
    let mut times: [Vec<Duration>; 5] = Default::default();
    tokio.block_on(async {
        let runtime = runtime::Runtime::open(crate::config(&args[0], &args[1])).await.expect("runtime");
        for n in 0..pods {
            let mut pod = PodSandboxConfig { hostname: "bench".into(), ..Default::default() };
            pod.metadata.name = format!("pod-{n}");
            let mut container = ContainerConfig { image: args[2].clone(), ..Default::default() };
            container.command = vec!["sleep".into(), "1000".into()];
            container.linux.security_context.namespace_options.pid = NamespaceMode::Container;
            pod.linux.security_context.namespace_options.pid = NamespaceMode::Container;
            let begin = Instant::now();
            let sandbox = runtime.run_pod_sandbox(&pod).await.expect("sandbox");
            let ready = begin.elapsed();
            let id = runtime.create_container(&sandbox, &container).await.expect("create");
            let created = begin.elapsed();
            runtime.start_container(&id).await.expect("start");
            let started = begin.elapsed();
            runtime.remove_pod_sandbox(&sandbox).await.expect("remove");
            let all = [ready, created - ready, started - created, started, begin.elapsed() - started];
            times.iter_mut().zip(all).for_each(|(list, t)| list.push(t));
            // As pods come one by one: the kernel's grace periods of the last one are over.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    });
    for (name, list) in ["sandbox", "create", "start", "together", "remove"].iter().zip(&mut times) {
        list.sort();
        let at = |share: usize| list[(list.len() * share / 100).min(list.len() - 1)].as_micros();
        println!("{name}: min {} p50 {} p99 {} us", at(0), at(50), at(99));
    }
}
