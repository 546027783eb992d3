//! The image and the manifests: rendered by a real Helm, validated against the Kubernetes schemas, and run by podman.

mod chart;
mod image;
mod podman;
mod pods;
mod render;
