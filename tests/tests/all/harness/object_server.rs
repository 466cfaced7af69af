//! What a test asks of a server that keeps objects, whichever it is.

use tracewell_testkit::GcsStub;

pub(crate) const BUCKET: &str = "traces";

pub(crate) trait ObjectServer {
    /// The settings of a Tracewell that keeps its blocks there.
    fn settings(&self) -> Vec<String>;

    /// The names of all objects, as somebody else than Tracewell sees them.
    fn keys(&self) -> Vec<String>;

    fn put(&self, key: &str, text: &str);

    /// Ends the server at once; what it acknowledged stays.
    fn kill(&mut self);

    /// Starts it again where it was stopped.
    fn resume(&mut self);
}

impl ObjectServer for GcsStub {
    fn settings(&self) -> Vec<String> {
        [
            "bucket.kind=gcs".to_owned(),
            format!("bucket.name={BUCKET}"),
            "bucket.prefix=team/tempo".to_owned(),
            format!("bucket.endpoint=127.0.0.1:{}", self.port()),
            "bucket.insecure=true".to_owned(),
        ]
        .into()
    }

    fn keys(&self) -> Vec<String> {
        GcsStub::keys(self)
    }

    fn put(&self, key: &str, text: &str) {
        GcsStub::put(self, key, text.as_bytes());
    }

    fn kill(&mut self) {
        self.pause();
    }

    fn resume(&mut self) {
        GcsStub::resume(self).unwrap();
    }
}
