//! The pointwise half of a block with its convolution and layer norm: some rows of the convolution at a time, then the tiles that they make.

use super::Site;
use super::depthwise::emit_rows;
use super::mlp::{Cut, Emitter, TileOf};
use mnx_plan::host::ConvMlp;
use mnx_plan::host::conv_mlp::ConvMlpScratch;

pub(super) fn emit(k: &ConvMlp, site: &Site<'_, '_>) {
    let (b, t) = (site.b, k.tile);
    let cut = Cut { gelu: k.gelu, in_place: k.in_place, rows: t.rows, step: t.hidden, stored: false };
    let layout = ConvMlpScratch::of(k);
    let e = Emitter::new(&k.work.mlp, &cut, layout.mlp, site);
    let conv = k.depthwise();
    let parts = conv.spatial_parts();
    let sample = b.div(site.workgroup, parts);
    e.start(site.workgroup, sample);
    let rows = e.view(layout.rows);
    let [_, height, width] = conv.conv.output;
    emit_rows(&conv, site, layout.depthwise, (layout.group, rows), |done| {
        let start = b.mul(b.at(done.y, done.z, height), width);
        let voxels = b.mul(done.count, width);
        b.each(0usize, voxels, t.rows, |at| {
            let tile = TileOf { sample: done.sample, first: b.add(start, at), count: b.min(b.sub(voxels, at), t.rows) };
            b.phase("source");
            let from = b.shifted(rows, b.mul(at, conv.conv.channels));
            e.load_layer_norm(k.work.eps, from, tile.count);
            e.tile(site.workgroup, tile);
        });
    });
}
