//! Taking ports, and saying who has them when they are taken.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::{Result, anyhow};

/// Listens on `address`. `what` says who wants it, `remedy` how to choose another.
///
/// # Errors
/// One message that names the port, who wants it, who has it (if that can be seen) and what to do.
pub(crate) fn listen(address: SocketAddr, what: &str, remedy: &str) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| refusal(address, what, remedy, &error))
}

fn refusal(address: SocketAddr, what: &str, remedy: &str, error: &io::Error) -> anyhow::Error {
    if error.kind() != io::ErrorKind::AddrInUse {
        return anyhow!("{what} cannot listen on {address}: {error}; {remedy}");
    }
    let owner = match owner(address.port()) {
        Some((pid, name)) => format!("by {name} (process {pid})"),
        None => "by another program".to_owned(),
    };
    anyhow!("port {} for {what} is already in use {owner}: stop that program, or {remedy}", address.port())
}

/// Who listens on the port, as far as this user may see. Linux only; elsewhere nobody is found.
fn owner(port: u16) -> Option<(u32, String)> {
    let inode = listening_inode(port)?;
    let wanted = format!("socket:[{inode}]");
    let pids =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        if open
            .flatten()
            .any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str()))
        {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            return Some((pid, name.trim().to_owned()));
        }
    }
    None
}

/// See proc_net_tcp in the kernel's documentation: local address is the second column, state the fourth (0A: listening), inode the tenth.
fn listening_inode(port: u16) -> Option<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let suffix = format!(":{port:04X}");
    tables.iter().flat_map(|table| table.lines()).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let listening = columns.get(3) == Some(&"0A") && columns.get(1)?.ends_with(&suffix);
        if listening { columns.get(9)?.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_refused_with_port_owner_and_remedy() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("a bound socket has an address");
        let error = listen(address, "payment", "choose another with --payment-listen")
            .expect_err("the port is taken")
            .to_string();
        assert!(error.contains(&format!("port {} for payment", address.port())), "{error}");
        assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
        assert!(error.ends_with("choose another with --payment-listen"), "{error}");
    }
}
