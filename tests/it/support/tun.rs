//! Two TUN devices with a delay between them. The kernels at both ends see a network, so that data in flight is in their
//! queues; `netem` is not available on every machine that tests run on.

use std::{
    ffi::c_int,
    fs::File,
    io::{Read, Write},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// linux/if_tun.h.
const TUNSETIFF: Opcode = opcode::write::<c_int>(b'T', 202);
const IFF_TUN: u16 = 1;
const IFF_NO_PI: u16 = 0x1000;

/// Forwards packets until both devices are gone: when this is dropped and their namespaces have ended.
pub struct Relay {
    _devices: [Arc<File>; 2],
}

impl Relay {
    /// Creates devices with these names, which may be moved to other namespaces.
    pub fn start(one: &str, other: &str, each_way: Duration) -> Self {
        let devices = [one, other].map(|name| Arc::new(device(name)));
        for (from, to) in [(0, 1), (1, 0)] {
            carry(devices[from].clone(), devices[to].clone(), each_way);
        }
        Self { _devices: devices }
    }
}

fn carry(from: Arc<File>, to: Arc<File>, delay: Duration) {
    let (sender, packets) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut packet = [0; 65_536];
        // Reading fails while the device is down; once it is gone for good, nothing receives the packets any more.
        loop {
            match (&*from).read(&mut packet) {
                Ok(length) if sender.send((Instant::now() + delay, packet[..length].to_vec())).is_err() => return,
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BADFD.raw_os_error()) => return,
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    });
    thread::spawn(move || {
        for (due, packet) in packets {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // Packets for which the other end has no room, or no device, are lost, as in any network.
            (&*to).write_all(&packet).ok();
        }
    });
}

/// `struct ifreq` of linux/if.h, as far as this request reads it.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

#[allow(unsafe_code, reason = "there is no safe call that makes a network device")]
fn device(name: &str) -> File {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .unwrap_or_else(|error| panic!("/dev/net/tun, which a network with delay needs: {error}"));
    let mut request = Request { name: [0; 16], flags: IFF_TUN | IFF_NO_PI, rest: [0; 22] };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the request reads, and writes, one `struct ifreq` of 40 bytes, of which the name ends in 0.
    unsafe { ioctl(&file, Setter::<TUNSETIFF, Request>::new(request)) }.unwrap();
    file
}
