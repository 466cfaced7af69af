//! The object store as the configuration wants it.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use object_store::aws::{AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::path::Path;
use object_store::{
    BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig, StaticCredentialProvider,
};
use tracewell_store::StoreError;
use tracewell_store::bucket::BucketConfig;
use tracewell_store::disk::Disk;

use super::storage::share;
use crate::config::{Bucket, BucketKind, BucketLookup, Config};

/// The name of Tracewell's own folder in a bucket.
const FOLDER: &str = "tracewell";
/// Where pieces of the bucket's blocks lie, beside the blocks of the local disk.
pub(super) const CACHE: &str = "cache";
const REGION: &str = "us-east-1";

const CONNECT_MAX: Duration = Duration::from_secs(5);
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// What a client tries again by itself; workers try again after that.
const RETRIES_MAX: usize = 3;
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The bucket, if one is written. Nothing is asked of it yet.
pub(super) fn open(config: &Config, disk: &dyn Disk) -> Result<Option<BucketConfig>> {
    let bucket = &config.bucket;
    let objects: Arc<dyn ObjectStore> = match bucket.kind {
        BucketKind::None => return Ok(None),
        BucketKind::S3 => Arc::new(s3(bucket).context("bucket.kind s3")?),
        BucketKind::Gcs => Arc::new(gcs(bucket).context("bucket.kind gcs")?),
        BucketKind::Azure => Arc::new(azure(bucket).context("bucket.kind azure")?),
    };
    let blocks = config.blocks_path();
    Ok(Some(BucketConfig {
        objects,
        prefix: Path::from(bucket.prefix.as_str()).join(FOLDER),
        cache_dir: blocks.join(CACHE),
        cache_bytes: share(bucket.cache, disk, &blocks)?,
        upload_after: bucket.upload_after,
        replaced_kept: bucket.replaced_kept,
    }))
}

/// What to do about a bucket that says no.
pub(super) fn explain(error: StoreError, name: &str) -> anyhow::Error {
    let hint = if error.is_refused() {
        "it refuses these keys: look at bucket.access_key and bucket.secret_key, or at the role of this machine, \
         and at what they may do there: read, write, list and delete"
    } else if error.is_no_bucket() {
        "there is no such bucket: look at bucket.name, bucket.endpoint and bucket.region, and make it first"
    } else {
        return error.into();
    };
    anyhow::Error::new(error).context(format!("{name}: {hint}"))
}

fn s3(bucket: &Bucket) -> Result<impl ObjectStore + use<>> {
    let endpoint = endpoint(bucket);
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&bucket.name)
        .with_region(region(bucket))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_checksum_algorithm(Checksum::SHA256)
        .with_client_options(client(bucket)?)
        .with_retry(retry());
    let is_amazon = endpoint
        .as_deref()
        .is_none_or(|endpoint| endpoint.contains(".amazonaws.com"));
    let by_host = match bucket.lookup {
        BucketLookup::Auto => is_amazon,
        BucketLookup::Dns => true,
        BucketLookup::Path => false,
    };
    builder = builder.with_virtual_hosted_style_request(by_host);
    if let Some(endpoint) = endpoint {
        // The client takes the endpoint of a host-style bucket as it is.
        let endpoint = match endpoint.split_once("://") {
            Some((scheme, host)) if by_host => format!("{scheme}://{}.{host}", bucket.name),
            _ => endpoint,
        };
        builder = builder.with_endpoint(endpoint);
    }
    if !bucket.access_key.is_empty() {
        builder = builder
            .with_access_key_id(&bucket.access_key)
            .with_secret_access_key(bucket.secret_key.reveal());
    }
    if !bucket.session_token.is_empty() {
        builder = builder.with_token(bucket.session_token.reveal());
    }
    Ok(builder.build()?)
}

fn gcs(bucket: &Bucket) -> Result<impl ObjectStore + use<>> {
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(&bucket.name)
        .with_client_options(client(bucket)?)
        .with_retry(retry());
    if let Some(endpoint) = endpoint(bucket) {
        builder = builder.with_config(object_store::gcp::GoogleConfigKey::BaseUrl, endpoint);
    }
    if bucket.insecure {
        // An emulator has no accounts, and nobody is asked for a token of one: what says that signatures are left out
        // holds for reading alone.
        let nobody = GcpCredential {
            bearer: String::new(),
        };
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(nobody)));
    }
    Ok(builder.build()?)
}

fn azure(bucket: &Bucket) -> Result<impl ObjectStore + use<>> {
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_container_name(&bucket.name)
        .with_client_options(client(bucket)?)
        .with_retry(retry());
    if bucket.access_key.is_empty() {
        bail!("bucket.access_key, the storage account, is missing");
    }
    builder = builder.with_account(&bucket.access_key);
    if let Some(endpoint) = endpoint(bucket) {
        builder = builder.with_endpoint(endpoint);
    }
    if !bucket.secret_key.is_empty() {
        builder = builder.with_access_key(bucket.secret_key.reveal());
    }
    Ok(builder.build()?)
}

fn client(bucket: &Bucket) -> Result<ClientOptions> {
    let mut options = ClientOptions::new()
        .with_connect_timeout(CONNECT_MAX)
        .with_timeout(REQUEST_MAX)
        .with_allow_http(is_plain(bucket));
    if let Some(path) = &bucket.ca_path {
        for certificate in certificates(path)? {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

fn certificates(path: &FilePath) -> Result<Vec<Certificate>> {
    let text = std::fs::read(path)
        .with_context(|| format!("reading {}, see bucket.ca_path", path.display()))?;
    let found = Certificate::from_pem_bundle(&text)
        .with_context(|| format!("{} holds no PEM certificates", path.display()))?;
    if found.is_empty() {
        bail!("{} holds no PEM certificates", path.display());
    }
    Ok(found)
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_MAX,
    }
}

/// The endpoint as a URL; `None` for the provider's own.
fn endpoint(bucket: &Bucket) -> Option<String> {
    let endpoint = bucket.endpoint.trim_end_matches('/');
    match endpoint {
        "" => None,
        endpoint if endpoint.contains("://") => Some(endpoint.to_owned()),
        endpoint if bucket.insecure => Some(format!("http://{endpoint}")),
        endpoint => Some(format!("https://{endpoint}")),
    }
}

fn is_plain(bucket: &Bucket) -> bool {
    endpoint(bucket).is_some_and(|endpoint| endpoint.starts_with("http://"))
}

/// As written, as an endpoint of Amazon's says, as the environment says, or the one that all take.
fn region(bucket: &Bucket) -> String {
    if !bucket.region.is_empty() {
        return bucket.region.clone();
    }
    let of_host = region_of(&bucket.endpoint);
    let of_environment = || {
        let names = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        let found = names.iter().find_map(|name| std::env::var(name).ok());
        found.filter(|region| !region.is_empty())
    };
    of_host
        .or_else(of_environment)
        .unwrap_or_else(|| REGION.to_owned())
}

/// The region in `s3.eu-west-1.amazonaws.com` or `s3.dualstack.eu-west-1.amazonaws.com`.
fn region_of(endpoint: &str) -> Option<String> {
    let host = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, host)| host);
    let (host, _) = host.split_once(".amazonaws.com")?;
    let region = host.rsplit('.').next()?;
    (region.contains('-') && !region.starts_with("s3-")).then(|| region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(endpoint: &str, insecure: bool) -> Bucket {
        let mut bucket = Config::default().bucket;
        bucket.endpoint = endpoint.to_owned();
        bucket.insecure = insecure;
        bucket
    }

    #[test]
    fn an_endpoint_without_a_scheme_is_https() {
        let of = |endpoint, insecure| super::endpoint(&bucket(endpoint, insecure));
        assert_eq!(of("", false), None);
        assert_eq!(of("minio:9000", false).unwrap(), "https://minio:9000");
        assert_eq!(of("minio:9000", true).unwrap(), "http://minio:9000");
        assert_eq!(
            of("http://minio:9000/", false).unwrap(),
            "http://minio:9000"
        );
        assert_eq!(of("https://minio", true).unwrap(), "https://minio");
    }

    #[test]
    fn the_region_of_an_endpoint_of_amazons_is_known() {
        let known = [
            ("s3.eu-west-1.amazonaws.com", Some("eu-west-1")),
            (
                "https://s3.dualstack.us-west-2.amazonaws.com",
                Some("us-west-2"),
            ),
            ("s3.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("s3.amazonaws.com", None),
            ("minio.eu-west-1.example:9000", None),
        ];
        for (endpoint, region) in known {
            assert_eq!(region_of(endpoint).as_deref(), region, "{endpoint}");
        }
    }
}
