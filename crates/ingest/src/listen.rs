//! Opening a TCP port, and saying what is wrong where that fails.
//!
//! It is not a server: [`crate::accept`] takes connections from what is opened here. The error of
//! a port that is taken names the port, the process that holds it where `/proc` tells, and the
//! configuration key to change.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use crate::tls::Tls;

/// An open port.
#[derive(Debug)]
pub struct Listener {
    pub socket: TcpListener,
    /// What its connections begin with, if they are to be encrypted.
    pub tls: Option<Arc<Tls>>,
}

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    pub name: String,
}

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    #[error(
        "port {} of {} is taken{}: stop what holds it, or set `{config_key}` to another address",
        address.port(), address.ip(), held_by(holder.as_ref())
    )]
    Taken {
        address: SocketAddr,
        config_key: String,
        holder: Option<Holder>,
    },
    #[error(
        "no permission to listen on port {} of {}: ports below 1024 need it, set `{config_key}` to a higher one",
        address.port(), address.ip()
    )]
    Permission {
        address: SocketAddr,
        config_key: String,
        source: io::Error,
    },
    #[error("{} is no address of this machine: correct `{config_key}`", address.ip())]
    NotLocal {
        address: SocketAddr,
        config_key: String,
        source: io::Error,
    },
    #[error("cannot listen on {address} (`{config_key}`)")]
    Other {
        address: SocketAddr,
        config_key: String,
        source: io::Error,
    },
}

impl From<TcpListener> for Listener {
    /// Without TLS.
    fn from(socket: TcpListener) -> Self {
        Self { socket, tls: None }
    }
}

/// Opens a port. `config_key` is what a user would change to have another one.
pub fn bind(address: SocketAddr, config_key: &str) -> Result<TcpListener, ListenError> {
    let config_key = config_key.to_owned();
    let source = match TcpListener::bind(address) {
        Ok(listener) => return Ok(listener),
        Err(source) => source,
    };
    Err(match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken {
            address,
            config_key,
            holder: holder_of_port(address.port()),
        },
        io::ErrorKind::PermissionDenied => ListenError::Permission {
            address,
            config_key,
            source,
        },
        io::ErrorKind::AddrNotAvailable => ListenError::NotLocal {
            address,
            config_key,
            source,
        },
        _ => ListenError::Other {
            address,
            config_key,
            source,
        },
    })
}

/// The process that listens on a port, if this user may see it. Linux only.
pub fn holder_of_port(port: u16) -> Option<Holder> {
    let inodes: Vec<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    std::fs::read_dir("/proc")
        .ok()?
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| holds_one_of(*pid, &inodes))
        .map(|pid| Holder {
            pid,
            name: std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .map(|name| name.trim_end().to_owned())
                .unwrap_or_else(|_| String::from("unknown")),
        })
}

/// Socket inodes that listen on the port, from the text of `/proc/net/tcp` or `tcp6`.
fn listening_inodes(table: &str, port: u16) -> Vec<u64> {
    const STATE_LISTEN: &str = "0A";
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let local = fields.nth(1)?;
            let state = fields.nth(1)?;
            let inode = fields.nth(5)?;
            let (_, local_port) = local.rsplit_once(':')?;
            let same = u16::from_str_radix(local_port, 16).ok()? == port;
            (same && state == STATE_LISTEN).then(|| inode.parse().ok())?
        })
        .collect()
}

fn holds_one_of(pid: u32, inodes: &[u64]) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors
        .filter_map(Result::ok)
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .any(|target| socket_inode(&target).is_some_and(|inode| inodes.contains(&inode)))
}

fn socket_inode(target: &Path) -> Option<u64> {
    target
        .to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

fn held_by(holder: Option<&Holder>) -> String {
    holder.map_or_else(String::new, |holder| {
        format!(" by {} (pid {})", holder.name, holder.pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder_and_the_key() {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address, "otlp.grpc").unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&address.port().to_string()), "{text}");
        assert!(text.contains("otlp.grpc"), "{text}");
        if cfg!(target_os = "linux") {
            let holder = holder_of_port(address.port()).unwrap();
            assert_eq!(holder.pid, std::process::id());
            assert!(
                text.contains(&format!("pid {}", std::process::id())),
                "{text}"
            );
        }
    }

    #[test]
    fn an_address_of_another_machine_says_so() {
        let error = bind("192.0.2.1:4317".parse().unwrap(), "otlp.grpc").unwrap_err();
        assert!(matches!(error, ListenError::NotLocal { .. }), "{error}");
    }

    #[test]
    fn the_kernels_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:10DD 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n   1: 0100007F:10DD 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n";
        assert_eq!(listening_inodes(table, 4317), [4711]);
        assert!(listening_inodes(table, 4318).is_empty());
    }
}
