//! The real binary with its blocks in the bucket of a real S3 server, in Azurite, and in a stub of GCS.

mod bench;
mod kills;
mod power;
mod round_trip;
mod unreliable;

use std::process::Command;
use std::time::Duration;

use tracewell_model::TraceId;
use tracewell_testkit::GcsStub;

use crate::e2e::tenants;
use crate::harness::azurite::Azurite;
use crate::harness::object_server::{BUCKET, ObjectServer};
use crate::harness::s3::{ACCESS_KEY, Kind, S3, SECRET_KEY};
use crate::harness::server::{Server, Site};
use crate::harness::{binary, blocks, eventually, eventually_within, http, metrics};
use crate::load;

/// What a test sends: ids, each of a trace of [`load::N_SPANS`] spans.
type Sent = Vec<TraceId>;

fn start(site: &Site, server: &dyn ObjectServer, more: &[&str]) -> Server {
    site.start(&strs(&settings(server, more)))
}

fn settings(server: &dyn ObjectServer, more: &[&str]) -> Vec<String> {
    let mut settings = server.settings();
    settings.extend(more.iter().map(|it| (*it).to_owned()));
    settings
}

fn strs(settings: &[String]) -> Vec<&str> {
    settings.iter().map(String::as_str).collect()
}

fn send(site: &Site, round: u64, n: u64, sent: &mut Sent) {
    for number in 0..n {
        let (id, body) = load::request(round, 0, number);
        let answer = http::post(
            site.otlp_http,
            "/v1/traces",
            "application/x-protobuf",
            &body,
        );
        assert_eq!(answer.unwrap().status, 200);
        sent.push(id);
    }
}

/// Spans of a trace that a server has, or what it answers.
fn n_spans(server: &Server, id: TraceId) -> Result<usize, String> {
    let answer = server.get(&format!("/api/v2/traces/{id}"));
    if answer.status != 200 {
        return Err(answer.text());
    }
    let answer = answer.json();
    let spans = &answer["trace"]["resourceSpans"];
    match spans.is_array() {
        true => Ok(load::n_spans(spans)),
        false => Err(answer.to_string()),
    }
}

/// Everything that was sent is there, whole, by id and by search.
fn check(server: &Server, sent: &Sent, what: &str) {
    for id in sent {
        assert_eq!(n_spans(server, *id), Ok(load::N_SPANS), "{what}: {id}");
    }
    let query = format!("{{ span.marker = \"{}\" }}", load::marker(sent[0]));
    let found = server.search(&query, 10);
    assert_eq!(found["traces"].as_array().unwrap().len(), 1, "{what}");
}

fn flush(server: &Server) {
    let answer = server.get("/flush");
    assert!([200, 204].contains(&answer.status), "{}", answer.text());
}

fn keeps_its_blocks(objects: &dyn ObjectServer) {
    objects.put("team/tempo/single-tenant/0b1e/meta.json", "{}");
    let n_others = objects.keys().len();
    let site = Site::new();
    let mut sent = Sent::new();
    let server = start(&site, objects, &[]);
    for round in 0..3 {
        send(&site, round, 20, &mut sent);
        flush(&server);
    }
    check(&server, &sent, "uploaded");
    the_numbers_are_right(&server);
    let keys = objects.keys();
    let (ours, others): (Vec<_>, Vec<_>) = keys
        .iter()
        .partition(|key| key.starts_with("team/tempo/tracewell/"));
    assert_eq!(others.len(), n_others, "{others:?}");
    for part in ["/manifest/", "/blocks/"] {
        assert!(ours.iter().any(|key| key.contains(part)), "{keys:?}");
    }
    let n_objects = ours.len();

    // Those of the first are its own; only what lies beside is counted, by its folder.
    let foreign = |server: &Server| {
        let seen = metrics::scrape(server);
        let found: Vec<f64> = metrics::of(&seen, "tracewell_bucket_foreign_objects").collect();
        assert_eq!(found, [1.0], "{}", server.log());
    };
    foreign(&server);

    // Others read the same bucket.
    let readers = [Site::new(), Site::new()];
    let reading = [
        start(&readers[0], objects, &[]),
        start(&readers[1], objects, &[]),
    ];
    for reader in &reading {
        check(reader, &sent, "a reader");
        foreign(reader);
    }
    send(&site, 3, 20, &mut sent);
    flush(&server);
    for reader in &reading {
        eventually("a reader sees what was uploaded", || {
            n_spans(reader, sent[sent.len() - 1])
        });
        check(reader, &sent, "a reader, later");
    }

    // A crash, with spans that are in no block yet.
    send(&site, 4, 20, &mut sent);
    server.kill();
    let server = start(&site, objects, &[]);
    check(&server, &sent, "after a kill");

    // Merged there, and read by all.
    flush(&server);
    check(&server, &sent, "flushed again");
    drop(reading);
    assert!(
        objects.keys().len() >= n_objects,
        "nothing is deleted within an hour"
    );

    // A machine that lost its disk.
    assert!(server.stop().success());
    let other = Site::new();
    let server = start(&other, objects, &[]);
    check(&server, &sent, "another disk");
    drop(server);
}

/// What the operator sees once everything is uploaded.
fn the_numbers_are_right(server: &Server) {
    let seen = metrics::scrape(server);
    for (name, least, most) in [
        ("tracewell_bucket_failing", 0.0, 0.0),
        ("tracewell_bucket_keeper", 1.0, 1.0),
        ("tracewell_bucket_manifest", 3.0, 100.0),
        ("tracewell_bucket_waiting_blocks", 0.0, 0.0),
        ("tracewell_bucket_waiting_bytes", 0.0, 0.0),
        ("tracewell_bucket_oldest_waiting_seconds", 0.0, 0.0),
        ("tracewell_bucket_cache_bytes", 1.0, 1e9),
        ("tracewell_bucket_cache_bytes_max", 1.0, 1e15),
        ("tracewell_store_blocks_uploaded_total", 3.0, 100.0),
        ("tracewell_store_bytes_uploaded_total", 1.0, 1e9),
    ] {
        let values: Vec<f64> = metrics::of(&seen, name).collect();
        let [value] = values[..] else {
            panic!("{name}: {values:?}");
        };
        assert!((least..=most).contains(&value), "{name} is {value}");
    }
    let status = server.get("/status").text();
    assert!(status.contains("this process"), "{status}");
    let json = status_of(server);
    assert_eq!(json["bucket"]["keeper"], "this process", "{json}");
    for fact in [
        "blocks_not_uploaded",
        "bytes_not_uploaded",
        "age_of_the_oldest_span_not_uploaded",
    ] {
        assert_eq!(json["bucket"][fact].as_f64(), Some(0.0), "{fact}: {json}");
    }
    for fact in ["kept_in_blocks_there", "may_be_cached_on_this_disk"] {
        assert!(json["bucket"][fact].as_u64() > Some(0), "{fact}: {json}");
    }
}

fn status_of(server: &Server) -> serde_json::Value {
    let page = http::get_with(server.http(), "/status", "accept: application/json\r\n");
    page.unwrap().json()
}

/// While the bucket is away what is cached is served, what is sent is taken, and all of it arrives in the
/// end.
fn does_without_it(objects: &mut dyn ObjectServer) {
    let site = Site::new();
    let mut sent = Sent::new();
    let server = start(&site, objects, &["bucket.upload_after=2s"]);
    send(&site, 0, 40, &mut sent);
    flush(&server);
    check(&server, &sent, "cached");
    objects.kill();
    send(&site, 5, 20, &mut sent);
    check(&server, &sent, "while the bucket is away");
    let ready = server.get("/ready");
    assert_eq!(ready.status, 200, "{}", ready.text());
    eventually("the bucket's absence is told", || {
        let text = server.get("/ready?verbose").text();
        let told = text.contains("bucket");
        told.then_some(()).ok_or(text)
    });
    eventually("what waits is on the status page", || {
        let json = status_of(&server);
        let age = json["bucket"]["age_of_the_oldest_span_not_uploaded"].as_f64();
        (age > Some(0.0)).then_some(()).ok_or(json.to_string())
    });
    eventually("the bucket's failing is measured", || {
        let seen = metrics::scrape(&server);
        let failing: Vec<f64> = metrics::of(&seen, "tracewell_bucket_failing").collect();
        (failing == [1.0])
            .then_some(())
            .ok_or(format!("{failing:?}"))
    });
    server.kill();
    // A start without the bucket serves what is here, and says what it misses.
    let server = start(&site, objects, &["bucket.upload_after=2s"]);
    let (id, body) = load::request(6, 0, 0);
    let answer = http::post(
        site.otlp_http,
        "/v1/traces",
        "application/x-protobuf",
        &body,
    );
    assert_eq!(answer.unwrap().status, 200);
    sent.push(id);
    check(&server, &vec![id], "sent without the bucket");
    let answer = server.get(&format!("/api/v2/traces/{}", sent[0]));
    let text = answer.text();
    assert!(
        text.contains("PARTIAL") && text.contains("bucket"),
        "{text}"
    );
    objects.resume();
    eventually_within(Duration::from_secs(120), "the bucket is read again", || {
        n_spans(&server, sent[0])
    });
    check(&server, &sent, "the bucket is back");
    flush(&server);
    assert!(server.stop().success());
    let last = Site::new();
    check(&start(&last, objects, &[]), &sent, "another disk, later");
}

/// A file of Tempo's that names the bucket, and nothing else.
fn tempo_file(site: &Site, objects: &S3, keys: &str) -> Command {
    let (http, grpc, otlp) = (site.http, site.otlp_grpc, site.otlp_http);
    let (endpoint, wal) = (objects.endpoint(), site.folder().join("wal"));
    let wal = wal.display();
    let text = format!(
        "\
server:
  http_listen_address: 127.0.0.1
  http_listen_port: {http}
distributor:
  receivers:
    otlp:
      protocols:
        grpc: {{ endpoint: '127.0.0.1:{grpc}' }}
        http: {{ endpoint: '127.0.0.1:{otlp}' }}
storage:
  trace:
    backend: s3
    wal: {{ path: {wal} }}
    s3:
      bucket: {BUCKET}
      prefix: team/tempo
      endpoint: {endpoint}
      region: eu-central-1
      insecure: true
      forcepathstyle: true
{keys}"
    );
    let file = site.folder().join("tempo.yaml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(binary());
    command
        .arg(format!("-config.file={}", file.display()))
        .arg("-config.expand-env=true");
    command
}

/// Where a Tempo ran over S3 the same file will do, with the keys in it or in the environment. A session token of the
/// environment belongs to the keys there.
#[test]
fn a_file_of_tempos_keeps_its_blocks() {
    let objects = S3::start(Kind::SeaweedFs);
    let site = Site::new();
    let keys = "      access_key: ${TEMPO_KEY}\n      secret_key: ${TEMPO_SECRET}\n";
    let mut command = tempo_file(&site, &objects, keys);
    command
        .envs([("TEMPO_KEY", ACCESS_KEY), ("TEMPO_SECRET", SECRET_KEY)])
        .env("AWS_ACCESS_KEY_ID", "of-somebody-else")
        .env("AWS_SECRET_ACCESS_KEY", "of-somebody-else")
        .env("AWS_SESSION_TOKEN", "of-somebody-else");
    let server = site.start_command(command);
    let mut sent = Sent::new();
    send(&site, 0, 20, &mut sent);
    flush(&server);
    check(&server, &sent, "with keys in the file");
    let ours = |key: &String| key.starts_with("team/tempo/tracewell/blocks/");
    assert!(objects.keys().iter().any(ours));
    assert!(server.stop().success());

    let other = Site::new();
    let mut command = tempo_file(&other, &objects, "");
    command
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    let server = other.start_command(command);
    check(&server, &sent, "with keys in the environment");
}

/// What several tenants have in a bucket lies there for each alone, whichever process reads it.
#[test]
fn nobody_sees_another_tenant_in_a_bucket() {
    let objects = S3::start(Kind::Versity);
    let (site, other) = (Site::new(), Site::new());
    let server = start(&site, &objects, &[tenants::ON]);
    for round in 0..2 {
        tenants::each_sends(&site, round);
        flush(&server);
    }
    let reader = start(&other, &objects, &[tenants::ON]);
    for (site, place) in [(&site, "uploaded"), (&other, "by a reader")] {
        tenants::each_sees(site, 2);
        tenants::nobody_sees_another(site, place);
    }
    drop(reader);
}

#[test]
fn seaweedfs_keeps_its_blocks() {
    keeps_its_blocks(&S3::start(Kind::SeaweedFs));
}

#[test]
fn versitygw_keeps_its_blocks() {
    keeps_its_blocks(&S3::start(Kind::Versity));
}

#[test]
fn azurite_keeps_its_blocks() {
    keeps_its_blocks(&Azurite::start());
}

/// A stub of ours, no server of Google's.
#[test]
fn a_stub_of_gcs_keeps_its_blocks() {
    keeps_its_blocks(&GcsStub::start().unwrap());
}

#[test]
fn a_server_does_without_seaweedfs() {
    does_without_it(&mut S3::start(Kind::SeaweedFs));
}

#[test]
fn a_server_does_without_versitygw() {
    does_without_it(&mut S3::start(Kind::Versity));
}

#[test]
fn a_server_does_without_azurite() {
    does_without_it(&mut Azurite::start());
}

#[test]
fn a_server_does_without_a_stub_of_gcs() {
    does_without_it(&mut GcsStub::start().unwrap());
}

/// A block that cannot be read stays here. Who flushes before the machine is taken away is told each time, and all
/// else is uploaded.
#[test]
fn a_flush_tells_of_what_cannot_be_uploaded() {
    let stub = GcsStub::start().unwrap();
    let site = Site::new();
    let (mut broken, mut sent) = (Sent::new(), Sent::new());
    let settings = ["bucket.upload_after=1h", "storage.max_block_duration=1s"];
    let server = start(&site, &stub, &settings);
    send(&site, 0, 20, &mut broken);
    let manifest = eventually("a first block", || {
        let manifest = blocks::manifest(&site.data())?;
        let has_block = !manifest.blocks.is_empty();
        has_block.then_some(manifest).ok_or("no block".to_owned())
    });
    let block = manifest.blocks[0].id.to_string();
    let folder = site.data().join("blocks").join(&block);
    for name in blocks::names_in(&folder) {
        let file = folder.join(name);
        let zeros = vec![0; std::fs::metadata(&file).unwrap().len() as usize];
        std::fs::write(&file, zeros).unwrap();
    }
    for round in 1..4 {
        send(&site, round, 5, &mut sent);
        let answer = server.get("/flush");
        println!("{} {}", answer.status, answer.text().trim());
        assert_eq!(answer.status, 500, "{}", server.log());
        assert!(answer.text().contains(&block), "{}", answer.text());
    }
    assert!(server.get("/flush").text().contains("not uploaded"));
    let other = Site::new();
    let reader = start(&other, &stub, &[]);
    check(&reader, &sent, "what could be uploaded");
    drop(server);
    // Nor does a start forget it.
    let server = start(&site, &stub, &settings);
    let answer = server.get("/flush");
    assert_eq!(answer.status, 500, "{}", answer.text());
}

/// What a bucket refuses is told at the start, with what to do.
#[test]
fn a_bucket_that_refuses_is_told_at_the_start() {
    let s3 = S3::start(Kind::Versity);
    for (setting, words) in [
        ("bucket.secret_key=a-wrong-secret", "bucket.secret_key"),
        ("bucket.name=nothing-there", "make it first"),
    ] {
        let site = Site::new();
        let settings = settings(&s3, &[setting]);
        let output = Command::new(binary())
            .args(site.arguments(&strs(&settings)))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(words), "{text}");
        for secret in ["a-wrong-secret", SECRET_KEY, "StringToSign"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
