//! systemd: notifications of the program, and the units and files of `examples/systemd`, checked with systemd's own tools.

mod files;
mod notify;
