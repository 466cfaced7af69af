//! An object store that fails as those behind a network do: without doing anything, after having done
//! it, or long after its client has given up; whose listings miss objects; and that may be away.
//!
//! The faults come from a seed. What it is not: a store that loses what it has acknowledged, or gives
//! bytes that were not put.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart,
};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// A store over another one. Clones share what they do wrong.
#[derive(Debug, Clone)]
pub struct UnreliableObjects {
    inner: Arc<dyn ObjectStore>,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Debug)]
struct Faults {
    rng: SmallRng,
    /// Of a hundred calls so many fail.
    percent: u32,
    is_away: bool,
    /// Puts whose client has been told that they failed.
    late: Vec<(Path, PutPayload, PutOptions)>,
    n: u64,
}

/// What happens to a call that changes something.
enum Fate {
    Done,
    Undone,
    /// It is done, and the answer gets lost.
    Unanswered,
    Late,
}

#[derive(Debug)]
struct Upload {
    inner: Box<dyn MultipartUpload>,
    faults: Arc<Mutex<Faults>>,
}

// === impl UnreliableObjects ===

impl UnreliableObjects {
    /// A reliable one until it is told otherwise.
    pub fn new(inner: Arc<dyn ObjectStore>, seed: u64) -> Self {
        Self {
            inner,
            faults: Arc::new(Mutex::new(Faults {
                rng: SmallRng::seed_from_u64(seed),
                percent: 0,
                is_away: false,
                late: Vec::new(),
                n: 0,
            })),
        }
    }

    /// Of a hundred calls so many fail from now on.
    pub fn fail(&self, percent: u32) {
        self.faults.lock().percent = percent;
    }

    /// Nothing is answered while it is away.
    pub fn set_away(&self, is_away: bool) {
        self.faults.lock().is_away = is_away;
    }

    /// Calls that have failed so far.
    pub fn n_faults(&self) -> u64 {
        self.faults.lock().n
    }

    /// Puts that were late arrive now.
    pub async fn arrive(&self) {
        let late = std::mem::take(&mut self.faults.lock().late);
        for (location, payload, options) in late {
            drop(self.inner.put_opts(&location, payload, options).await);
        }
    }

    fn read_fails(&self) -> Result<()> {
        self.faults.lock().read_fails()
    }
}

impl fmt::Display for UnreliableObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unreliable({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for UnreliableObjects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let fate = self.faults.lock().fate();
        match fate {
            Fate::Undone => Err(failed()),
            Fate::Late => {
                let put = (location.clone(), payload, options);
                self.faults.lock().late.push(put);
                Err(failed())
            }
            Fate::Done => self.inner.put_opts(location, payload, options).await,
            Fate::Unanswered => {
                self.inner.put_opts(location, payload, options).await?;
                Err(failed())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.read_fails()?;
        let inner = self.inner.put_multipart_opts(location, options).await?;
        let faults = Arc::clone(&self.faults);
        Ok(Box::new(Upload { inner, faults }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.read_fails()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .then(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    let fate = store.faults.lock().fate();
                    match fate {
                        Fate::Undone | Fate::Late => Err(failed()),
                        Fate::Done => store.inner.delete(&location).await.map(|()| location),
                        Fate::Unanswered => {
                            store.inner.delete(&location).await?;
                            Err(failed())
                        }
                    }
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if let Err(error) = self.read_fails() {
            return stream::iter([Err(error)]).boxed();
        }
        let faults = Arc::clone(&self.faults);
        let is_lossy = faults.lock().strikes();
        let listed = self.inner.list(prefix);
        let shown = listed.filter(move |_| {
            let is_lost = is_lossy && faults.lock().rng.random_bool(0.5);
            std::future::ready(!is_lost)
        });
        shown.boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.read_fails()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.read_fails()?;
        self.inner.copy_opts(from, to, options).await
    }
}

// === impl Faults ===

impl Faults {
    fn strikes(&mut self) -> bool {
        let strikes = self.is_away || self.rng.random_ratio(self.percent, 100);
        self.n += u64::from(strikes);
        strikes
    }

    fn read_fails(&mut self) -> Result<()> {
        match self.strikes() {
            true => Err(failed()),
            false => Ok(()),
        }
    }

    fn fate(&mut self) -> Fate {
        if !self.strikes() {
            return Fate::Done;
        }
        match self.rng.random_range(0..3) {
            _ if self.is_away => Fate::Undone,
            0 => Fate::Undone,
            1 => Fate::Unanswered,
            _ => Fate::Late,
        }
    }
}

// === impl Upload ===

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        if let Err(error) = self.faults.lock().read_fails() {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let fate = self.faults.lock().fate();
        match fate {
            Fate::Undone | Fate::Late => Err(failed()),
            Fate::Done => self.inner.complete().await,
            Fate::Unanswered => {
                self.inner.complete().await?;
                Err(failed())
            }
        }
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

fn failed() -> Error {
    Error::Generic {
        store: "unreliable",
        source: "no answer".into(),
    }
}
