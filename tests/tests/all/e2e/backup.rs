//! A copy of the data folder is a backup.

use std::process::Command;

use crate::harness::server::Site;
use crate::load::request;

#[test]
fn a_copy_of_a_stopped_folder_is_a_server() {
    let (from, to) = (Site::new(), Site::new());
    let server = from.start(&[]);
    let mut ids = Vec::new();
    for number in 0..20 {
        let (id, body) = request(73, 0, number);
        super::metrics::send(&from, &body);
        ids.push(id);
        // In blocks and in the log.
        if number % 6 == 5 {
            assert_eq!(server.get("/flush").status / 100, 2);
        }
    }
    assert!(server.stop().success());
    let copied = Command::new("cp")
        .arg("-a")
        .arg(from.data())
        .arg(to.data())
        .status();
    assert!(copied.unwrap().success());
    let server = to.start(&[]);
    for id in &ids {
        super::find(&server, *id);
    }
    let (id, body) = request(74, 0, 0);
    super::metrics::send(&to, &body);
    super::find(&server, id);
    assert!(server.stop().success());
}
