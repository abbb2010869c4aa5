// Lists a .dcz file, and multiplies one layer: layer FILE.dcz [TENSOR].
mod file;
mod interface;

fn run(arguments: &[String]) -> Result<(), String> {
    let (path, name) = match arguments {
        [path] => (path, None),
        [path, name] => (path, Some(name)),
        _ => return Err("usage: layer FILE.dcz [TENSOR]".to_string()),
    };
    let file = file::File::open(path)?;
    for each in file.tensors()? {
        println!(
            "{} {} {:?} {} {} of {} bytes",
            each.name, each.dtype, each.shape, each.coder, each.stored_bytes, each.bytes
        );
    }
    if let Some(name) = name {
        let layer = file.layer(name)?;
        // the outputs for the inputs 1, 1/2, 1/3 ...
        let x: Vec<f32> = (0..layer.columns).map(|i| 1.0 / (i as f32 + 1.0)).collect();
        for value in layer.multiply(&x)? {
            println!("{value}");
        }
    }
    Ok(())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Err(message) = run(&arguments) {
        eprintln!("{message}");
        std::process::exit(1);
    }
}
