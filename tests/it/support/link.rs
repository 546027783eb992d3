//! A network between the program and a receiver: the receiver is in a network namespace of its own, in which packets can
//! be dropped or delayed. A proxy could do neither to the send queue of the kernel.

use std::{
    fs::File,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::{
        fd::AsFd,
        linux::net::SocketAddrExt,
        unix::{
            net::{SocketAddr, UnixDatagram},
            process::CommandExt,
        },
    },
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{
    server::{Site, installed},
    tun::Relay,
    wait::{LONG, eventually},
};

/// The receiver's namespace and the link to it. Both end with the process that holds the namespace, and that process ends
/// with the test: nothing is left behind, whatever happens.
pub struct Link {
    holder: Child,
    number: u32,
    _reserved: UnixDatagram,
    _relay: Option<Relay>,
}

/// Direction in which packets are dropped at the receiver's end.
#[derive(Clone, Copy, Debug)]
pub enum Dropped {
    /// Packets of the program.
    Sent,
    /// Packets of the receiver.
    Answered,
    Both,
}

/// Number of networks of eight addresses in 198.18.0.0/15.
const LINKS: u32 = 0x4000;

impl Link {
    /// Creates a link without delay.
    pub fn direct() -> Self {
        let link = Self::hold(None);
        let near = link.near();
        run(
            "ip",
            &["link", "add", &near, "type", "veth", "peer", "name", "far", "netns", &link.holder.id().to_string()],
        );
        link.configure();
        link
    }

    /// Creates a link with this delay in each direction.
    pub fn delayed(each_way: Duration) -> Self {
        let mut link = Self::hold(None);
        let (near, far) = (link.near(), format!("{}f", link.near()));
        link._relay = Some(Relay::start(&near, &far, each_way));
        run("ip", &["link", "set", &far, "netns", &link.holder.id().to_string()]);
        link.inside("ip", &["link", "set", &far, "name", "far"]);
        link.configure();
        link
    }

    /// Returns the receiver's address.
    pub fn far(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.network() + 2)
    }

    pub fn far_v6(&self) -> Ipv6Addr {
        // RFC 4193: unique local addresses.
        Ipv6Addr::new(0xfd64, 0x6d61, 0x7263, (self.number & 0xffff) as u16, 0, 0, 0, 2)
    }

    /// Returns another address of the receiver.
    pub fn far_again(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.network() + 3)
    }

    /// Returns the site for servers that are to run and listen at the far end.
    pub fn site(&self) -> Site {
        self.site_at(self.far().into())
    }

    pub fn site_at(&self, address: IpAddr) -> Site {
        let target = self.holder.id().to_string();
        Site { address, enter: ["nsenter", "--net", "--target", &target, "--"].map(str::to_owned).to_vec() }
    }

    /// Moves the calling thread, and the threads that it starts from now on, to the far end.
    pub fn move_thread(&self) {
        let namespace = File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
    }

    /// Drops packets silently from now on, also on existing connections.
    pub fn drop_packets(&self, dropped: Dropped) {
        let (sent, answered) = match dropped {
            Dropped::Sent => ("drop", "accept"),
            Dropped::Answered => ("accept", "drop"),
            Dropped::Both => ("drop", "drop"),
        };
        self.nft(&format!(
            "flush ruleset
             table inet faults {{
               chain sent {{ type filter hook input priority 0; iif far {sent}; }}
               chain answered {{ type filter hook output priority 0; oif far {answered}; }}
             }}
            "
        ));
    }

    /// Ends the dropping of packets.
    pub fn pass_packets(&self) {
        self.nft("flush ruleset\n");
    }

    fn hold(relay: Option<Relay>) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "network namespaces, links and packet filters need root (CAP_SYS_ADMIN and CAP_NET_ADMIN): \
             run this test as root"
        );
        for program in ["ip", "nft"] {
            installed(program);
        }
        let (number, reserved) = reserve();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"]);
        let holder = command.stdin(Stdio::null()).process_group(0).spawn().expect("setpriv and unshare of util-linux");
        let link = Self { holder, number, _reserved: reserved, _relay: relay };
        eventually(LONG, "the namespace is there", || {
            let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
            let (ours, its) = (namespace("self"), namespace(&link.holder.id().to_string()));
            (its.is_some() && its != ours).then_some(())
        });
        link
    }

    fn configure(&self) {
        let network = Ipv4Addr::from(self.network() + 1);
        let near_v6 = Ipv6Addr::from(u128::from(self.far_v6()) - 1);
        run("ip", &["addr", "add", &format!("{network}/29"), "dev", &self.near()]);
        run("ip", &["addr", "add", &format!("{near_v6}/64"), "dev", &self.near(), "nodad"]);
        run("ip", &["link", "set", &self.near(), "up"]);
        self.inside("ip", &["addr", "add", &format!("{}/29", self.far()), "dev", "far"]);
        self.inside("ip", &["addr", "add", &format!("{}/29", self.far_again()), "dev", "far"]);
        self.inside("ip", &["addr", "add", &format!("{}/64", self.far_v6()), "dev", "far", "nodad"]);
        self.inside("ip", &["link", "set", "far", "up"]);
        self.inside("ip", &["link", "set", "lo", "up"]);
    }

    /// Network of this link in the range for benchmarks (RFC 2544), eight addresses for each link.
    fn network(&self) -> u32 {
        u32::from(Ipv4Addr::new(198, 18, 0, 0)) + self.number * 8
    }

    /// Name of the interface at our end; at most 15 characters.
    fn near(&self) -> String {
        format!("dsh{}", self.number)
    }

    fn inside(&self, program: &str, arguments: &[&str]) {
        let enter = self.site().enter;
        let (first, rest) = enter.split_first().expect("there is a namespace to enter");
        let arguments: Vec<&str> =
            rest.iter().map(String::as_str).chain([program]).chain(arguments.iter().copied()).collect();
        run(first, &arguments);
    }

    fn nft(&self, rules: &str) {
        let enter = self.site().enter;
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).arg(installed("nft")).args(["-f", "-"]).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "nft refuses {rules}");
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.holder.kill().ok(); // it may be gone already
        self.holder.wait().ok();
    }
}

/// Reserves the number of a link, from which its addresses and the name of its interface are derived. Tests are separate
/// processes, so it is reserved for the whole machine, by the name of a socket that is released with it.
fn reserve() -> (u32, UnixDatagram) {
    // A number is not reused right away: the devices of a dropped link may not be removed yet.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(64).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    let numbers = (0..LINKS).map(|number| begin.wrapping_add(number) % LINKS);
    let taken =
        |number| UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(format!("dmarc-shipper-link-{number}"))?);
    numbers.into_iter().find_map(|number| Some((number, taken(number).ok()?))).expect("a link's number is free")
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(installed(program)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
