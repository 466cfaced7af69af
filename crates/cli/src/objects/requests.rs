//! How long requests to an object store take, as they go over the wire: what the client tries again by itself
//! counts each time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use prometheus_client::metrics::histogram::Histogram;
use tracewell_server::metrics::{Metric, REQUEST_SECONDS, Samples};

/// The requests of one client. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests {
    by_kind: Arc<Mutex<BTreeMap<Kind, Histogram>>>,
}

/// Method and status.
type Kind = (String, String);

/// A client whose requests are timed.
#[derive(Debug)]
struct Timed {
    client: HttpClient,
    requests: Requests,
}

/// The status of a request that has no answer.
const NO_ANSWER: &str = "error";

impl Requests {
    pub(crate) fn measure(&self, samples: &mut Samples) {
        let by_kind = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        for ((method, status), seconds) in &*by_kind {
            let labels = vec![
                ("operation", method.clone()),
                ("status_code", status.clone()),
            ];
            samples.add_histogram(Metric::BucketRequestSeconds, labels, seconds);
        }
    }

    fn observe(&self, kind: Kind, seconds: f64) {
        let mut by_kind = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        let of_kind = by_kind.entry(kind);
        of_kind
            .or_insert_with(|| Histogram::new(REQUEST_SECONDS))
            .observe(seconds);
    }
}

impl HttpConnector for Requests {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Timed {
            client: ReqwestConnector::default().connect(options)?,
            requests: self.clone(),
        }))
    }
}

#[async_trait]
impl HttpService for Timed {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let method = request.method().to_string();
        let begun = Instant::now();
        let answer = self.client.execute(request).await;
        let status = match &answer {
            Ok(response) => response.status().as_u16().to_string(),
            Err(_) => NO_ANSWER.to_owned(),
        };
        let seconds = begun.elapsed().as_secs_f64();
        self.requests.observe((method, status), seconds);
        answer
    }
}
