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
    let open = || Store::open(&layout.images()).map_err(|e| e.to_string());
    match &options.command {
        ImageCommand::Import { files } => {
            layout.create()?;
            let store = open()?;
            for file in files {
                for image in store.import(file).map_err(|e| e.to_string())? {
                    imported(image.repo_tags, &image.id).iter().for_each(|line| println!("{line}"));
                }
            }
            Ok(())
        }
        ImageCommand::Ls => {
            // Looking makes nothing.
            let images = match layout.images().exists() {
                true => open()?.list().map_err(|e| e.to_string())?,
                false => Vec::new(),
            };
            let mut rows = vec![["IMAGE".to_string(), "ID".into(), "SIZE".into()]];
            for image in images {
                let id: String = image.id.trim_start_matches("sha256:").chars().take(13).collect();
                rows.extend(names(image.repo_tags).into_iter().map(|name| [name, id.clone(), mebibytes(image.size)]));
            }
            print_table(&rows);
            Ok(())
        }
    }
}

/// A line for each name that an image came with.
fn imported(tags: Vec<String>, id: &str) -> Vec<String> {
    names(tags).into_iter().map(|name| format!("{name}  {id}")).collect()
}

/// All that an image is called by.
fn names(tags: Vec<String>) -> Vec<String> {
    if tags.is_empty() { vec!["<none>".into()] } else { tags }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_shown() {
        let tags = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        assert_eq!(imported(tags(&["a:1", "a:latest"]), "sha256:0"), ["a:1  sha256:0", "a:latest  sha256:0"]);
        assert_eq!(imported(tags(&[]), "sha256:0"), ["<none>  sha256:0"]);
    }
}
