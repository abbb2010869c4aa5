// Finds the library by pkg-config: PKG_CONFIG_PATH=PREFIX/lib/pkgconfig cargo build
use std::process::Command;

fn main() {
    let found = Command::new("pkg-config")
        .args(["--variable=libdir", "deepcompression"])
        .output()
        .expect("pkg-config is needed");
    assert!(found.status.success(), "pkg-config does not find deepcompression: set PKG_CONFIG_PATH");
    let folder = String::from_utf8(found.stdout).unwrap();
    println!("cargo:rustc-link-search=native={}", folder.trim());
    println!("cargo:rustc-link-lib=dylib=deepcompression");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.trim());
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
}
