//! Under systemd: what the program tells it, and the units and files of `examples/systemd` in systemd's own tools.

mod files;
mod notify;
