//! `ferry image import|ls`: the image store that the nodes of this machine share.

use crate::{
    Outcome,
    cli::{Image, ImageCommand},
    layout::Layout,
};
use images::Store;

pub fn run(options: &Image) -> Outcome {
    super::need_root("image", "the images of nodes hold files of any owner, in a directory of root's")?;
    let layout = Layout::new(&options.data.data_dir);
    layout.create()?;
    let store = Store::open(&layout.images()).map_err(|e| e.to_string())?;
    match &options.command {
        ImageCommand::Import { files } => {
            for file in files {
                for image in store.import(file).map_err(|e| e.to_string())? {
                    let name = image.repo_tags.first().unwrap_or(&image.id);
                    println!("{name}  {}", image.id);
                }
            }
            Ok(())
        }
        ImageCommand::Ls => {
            let images = store.list().map_err(|e| e.to_string())?;
            let mut rows = vec![["IMAGE".to_string(), "ID".into(), "SIZE".into()]];
            for image in images {
                let id: String = image.id.trim_start_matches("sha256:").chars().take(13).collect();
                let names = if image.repo_tags.is_empty() { vec!["<none>".to_string()] } else { image.repo_tags };
                rows.extend(names.into_iter().map(|name| [name, id.clone(), mebibytes(image.size)]));
            }
            print_table(&rows);
            Ok(())
        }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn print_table(rows: &[[String; 3]]) {
    let width = |column: usize| rows.iter().map(|r| r[column].len()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    for [a, b, c] in rows {
        println!("{a:first$}  {b:second$}  {c}");
    }
}
