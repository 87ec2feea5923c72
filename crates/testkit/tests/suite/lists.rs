//! Long lists, page by page, and what becomes of a page's token when its revision is gone.

use crate::scene::{Scene, object, refused, scenarios};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::PodTemplate;
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams},
};
use std::time::Duration;
use testkit::{Cluster, json};

scenarios! {
    "[sig-api-machinery] Servers with support for API chunking should return chunks of results for list calls [Conformance]"
        => page_by_page,
    "[sig-api-machinery] Servers with support for API chunking should support continue listing from the last key if the original version has been compacted away, though the list is inconsistent [Slow] [Conformance]"
        => on_from_the_last_key,
}

const TOTAL: usize = 400;

/// A list that is read in pages.
struct Reading {
    templates: Api<PodTemplate>,
    limit: u32,
    token: Option<String>,
    found: usize,
}

impl Reading {
    fn params(&self) -> ListParams {
        let params = ListParams::default().limit(self.limit);
        match &self.token {
            Some(token) => params.continue_token(token),
            None => params,
        }
    }
    /// Reads a page, which has what follows and says how much is left. Its revision.
    async fn page(&mut self) -> String {
        let list = self.templates.list(&self.params()).await.expect("a page");
        assert!(list.items.len() <= self.limit as usize, "{}", list.items.len());
        for item in &list.items {
            assert_eq!(item.name_any(), format!("template-{:04}", self.found));
            self.found += 1;
        }
        self.token = list.metadata.continue_.filter(|token| !token.is_empty());
        let left = self.token.as_ref().map(|_| (TOTAL - self.found) as i64);
        assert_eq!(list.metadata.remaining_item_count, left);
        list.metadata.resource_version.expect("a revision")
    }
    /// Reads the rest, all of this revision.
    async fn rest(mut self, revision: &str) {
        while self.token.is_some() {
            assert_eq!(self.page().await, revision);
        }
        assert_eq!(self.found, TOTAL);
    }
}

async fn fill(templates: &Api<PodTemplate>) {
    let create = |n: usize| async move {
        let template = object(json!({"metadata": {"name": format!("template-{n:04}")},
            "template": {"spec": {"containers": [{"name": "c", "image": crate::scene::IMAGE}]}}}));
        templates.create(&PostParams::default(), &template).await.map(drop)
    };
    let creating = stream::iter(0..TOTAL).map(create).buffer_unordered(20);
    creating.try_collect::<()>().await.expect("created");
}

async fn page_by_page(scene: Scene) {
    let templates = scene.api::<PodTemplate>();
    fill(&templates).await;
    for _ in 0..3 {
        let mut reading = Reading { templates: templates.clone(), limit: 17, token: None, found: 0 };
        let revision = reading.page().await;
        reading.rest(&revision).await;
    }
    let all = templates.list(&ListParams::default().limit(TOTAL as u32 + 1)).await.expect("a list");
    assert_eq!(all.items.len(), TOTAL);
    assert_eq!((all.metadata.continue_, all.metadata.remaining_item_count), (None, None));
}

/// Compaction takes minutes of the runtime's clock: a control plane of its own has one that is moved.
async fn on_from_the_last_key(_: Scene) {
    let alone = tokio::task::spawn_blocking(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(compacted());
    });
    if let Err(error) = alone.await {
        std::panic::resume_unwind(error.into_panic());
    }
}

async fn compacted() {
    let cluster = Cluster::start().await;
    let templates = Api::<PodTemplate>::namespaced(cluster.admin().kube(), "default");
    fill(&templates).await;
    let mut reading = Reading { templates, limit: TOTAL as u32 / 10, token: None, found: 0 };
    let first = reading.page().await;
    cluster.admin().create("/api/v1/namespaces/default/configmaps", &json!({"metadata": {"name": "later"}})).await;

    tokio::time::pause();
    for _ in 0..20 {
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    tokio::time::resume();
    // Connections did not outlive those minutes.
    reading.templates = Api::namespaced(cluster.admin().kube(), "default");
    let expired = reading.templates.list(&reading.params()).await;
    let token = match &expired {
        Err(kube::Error::Api(status)) => status.metadata.clone().and_then(|meta| meta.continue_),
        _ => None,
    };
    refused(expired, 410, "Expired");
    reading.token = Some(token.expect("a token for what is there now"));

    let second = reading.page().await;
    assert_ne!(second, first);
    assert_eq!(reading.found, TOTAL / 5);
    reading.rest(&second).await;
    cluster.stop().await;
}
