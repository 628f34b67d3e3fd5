use std::hint::black_box;
use std::path::Path;

use container_ns::{Root, Sandbox};

use crate::{Amount, HotPath, Scale};

/// A container as Docker makes it by default, compiled to its plan: mounts, devices, masks, capabilities, the filter.
pub(crate) fn compile(scale: Scale, at: &Path) -> HotPath {
    let root = at.to_owned();
    HotPath::new("ns/compile", Amount::Items(scale.0 as u64), move || {
        for _ in 0..scale.0 {
            let sandbox = Sandbox::container(Root::Path(root.clone()), ["/bin/sh"]);
            black_box(sandbox.compile().expect("a plan"));
        }
    })
}
