#![allow(clippy::unwrap_used)]
use mnx_passes::*;
#[test]
fn t() {
    for toml in [
      "in_channels=2\nn_channels=4\nn_classes=3\nexp_r=2\nkernel_size=3\ndo_res=true\ndo_res_up_down=true\ndeep_supervision=true\nblock_counts=[1,1,1,1,1,1,1,1,2]\n",
      "in_channels=2\nn_channels=4\nn_classes=3\nexp_r=2\nkernel_size=3\ndo_res=true\ndo_res_up_down=true\ngrn=true\nnorm_type=\"layer\"\nblock_counts=[1,0,0,0,0,0,0,0,0]\n",
      "in_channels=1\nn_channels=4\nn_classes=3\nexp_r=2\nkernel_size=3\ngrn=true\nblock_counts=[0,0,0,0,0,0,0,0,0]\ndim=\"2d\"\n",
    ] {
        let cfg = mnx_model::Config::from_toml(toml, "t.toml").unwrap();
        let patch = if toml.contains("2d") { vec![32,32] } else { vec![32,16,32] };
        let mut g = mnx_model::build(&cfg, 1, &patch).unwrap();
        println!("{g}");
        let p = Pipeline::parse("infer").unwrap();
        println!("{p}");
        let r = Manager::default().run(&p, &mut g, &mut |s| { println!("{} {:?} {}", s.pass, s.changed, s.patches); Ok(()) });
        match r { Ok(r) => println!("{:?}", r.times), Err(e) => println!("ERR {e}") }
        println!("{g}");
        match mnx_plan::plan::plan(&g, &mnx_plan::target::TARGETS[0], None) { Ok(p) => println!("PLANNED {}", p.dispatches.len()), Err(e) => for e in e { println!("{e}") } }
    }
}
