//! The client of the object store as the configuration wants it. Nothing is asked of the store here, so that checking
//! a configuration finds what a start would refuse.

mod requests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use object_store::aws::{AmazonS3Builder, AwsCredential, Checksum, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::{
    BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig, StaticCredentialProvider,
};

use crate::config::{Bucket, BucketKind, BucketLookup};
pub(crate) use requests::Requests;

const REGION: &str = "us-east-1";
/// Where the environment names the storage account of Azure: the client's name of it, and a Tempo's.
const ACCOUNTS: [&str; 2] = ["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"];
/// How the hosts of Azure's clouds begin, behind the account.
const AZURE_HOST: &str = "blob.";

const CONNECT_MAX: Duration = Duration::from_secs(5);
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// What a client tries again by itself; workers try again after that.
const RETRIES_MAX: usize = 3;
const RETRY_MAX: Duration = Duration::from_secs(30);

/// A client, if a bucket is written. What it asks is timed by `requests`.
pub(crate) fn client_of(
    bucket: &Bucket,
    requests: Requests,
) -> Result<Option<Arc<dyn ObjectStore>>> {
    Ok(match bucket.kind {
        BucketKind::None => None,
        BucketKind::S3 => Some(Arc::new(s3(bucket, requests)?)),
        BucketKind::Gcs => Some(Arc::new(gcs(bucket, requests)?)),
        BucketKind::Azure => Some(Arc::new(azure(bucket, requests)?)),
    })
}

fn s3(bucket: &Bucket, requests: Requests) -> Result<impl ObjectStore + use<>> {
    let endpoint = endpoint(bucket);
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&bucket.name)
        .with_region(region(bucket))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_checksum_algorithm(Checksum::SHA256)
        .with_client_options(client(bucket)?)
        .with_http_connector(requests)
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
        // As a whole: a session token of the environment belongs to other keys.
        let token = bucket.session_token.reveal();
        let written = AwsCredential {
            key_id: bucket.access_key.clone(),
            secret_key: bucket.secret_key.reveal().to_owned(),
            token: (!token.is_empty()).then(|| token.to_owned()),
        };
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(written)));
    }
    Ok(builder.build()?)
}

fn gcs(bucket: &Bucket, requests: Requests) -> Result<impl ObjectStore + use<>> {
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(&bucket.name)
        .with_client_options(client(bucket)?)
        .with_http_connector(requests)
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

fn azure(bucket: &Bucket, requests: Requests) -> Result<impl ObjectStore + use<>> {
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_container_name(&bucket.name)
        .with_client_options(client(bucket)?)
        .with_http_connector(requests)
        .with_retry(retry());
    let Some(account) = account(bucket) else {
        bail!(
            "the storage account is missing: bucket.access_key, in a file of Tempo's storage_account_name, or {} in \
             the environment",
            ACCOUNTS[0]
        );
    };
    builder = builder.with_account(&account);
    if bucket.endpoint.starts_with(AZURE_HOST) {
        builder = builder.with_endpoint(format!("https://{account}.{}", bucket.endpoint));
    } else if let Some(endpoint) = endpoint(bucket) {
        builder = builder.with_endpoint(endpoint);
    }
    if !bucket.identity.is_empty() {
        builder = builder.with_client_id(&bucket.identity);
    }
    if !bucket.secret_key.is_empty() {
        builder = builder.with_access_key(bucket.secret_key.reveal());
    }
    Ok(builder.build()?)
}

/// As written, or as the environment says.
fn account(bucket: &Bucket) -> Option<String> {
    let written = Some(bucket.access_key.clone());
    let of_environment = ACCOUNTS.iter().map(|name| std::env::var(name).ok());
    let mut all = std::iter::once(written).chain(of_environment).flatten();
    all.find(|account| !account.is_empty())
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

fn certificates(path: &Path) -> Result<Vec<Certificate>> {
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
    use crate::config::Config;

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

    #[test]
    fn a_client_is_made_of_what_is_written_or_refused() {
        let of = |change: &dyn Fn(&mut Bucket)| {
            let mut bucket = bucket("", false);
            bucket.name = "traces".to_owned();
            change(&mut bucket);
            let made = client_of(&bucket, Requests::default());
            made.map_err(|error| format!("{error:#}"))
        };
        assert!(of(&|_| ()).unwrap().is_none());
        let azure = |account: &str, endpoint: &str| {
            of(&|bucket| {
                bucket.kind = BucketKind::Azure;
                bucket.access_key = account.to_owned();
                bucket.identity = "11111111-1111-1111-1111-111111111111".to_owned();
                bucket.endpoint = endpoint.to_owned();
            })
        };
        let error = azure("", "").unwrap_err();
        assert!(error.contains("the storage account is missing"), "{error}");
        for (endpoint, host) in [
            ("", "mine.blob.core.windows.net"),
            (
                "blob.core.usgovcloudapi.net",
                "mine.blob.core.usgovcloudapi.net",
            ),
            ("http://127.0.0.1:1/mine", "127.0.0.1"),
        ] {
            let made = format!("{:?}", azure("mine", endpoint).unwrap().unwrap());
            assert!(made.contains(host), "{endpoint}: {made}");
        }
        let error = of(&|bucket| {
            bucket.kind = BucketKind::S3;
            bucket.ca_path = Some("/no/such/file".into());
        });
        assert!(error.unwrap_err().contains("bucket.ca_path"));
    }
}
