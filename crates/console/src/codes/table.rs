//! The entries of the table of error codes, by room and number.

use super::{Code, code};

/// Every code there is.
pub const CODES: &[Code] = &[
    code(
        "bundle-0101",
        "a bundle cannot be opened or read",
        "The system refused to open or read the bundle: it is not there, is a directory, or may not be read. Check the path and the \
         permissions.",
    )
    .example("error[bundle-0101]: brain.mnxa: no such file or directory"),
    code(
        "bundle-0102",
        "the file is not a sound bundle",
        "The file is no bundle, was cut short or changed after it was written, or has a format version that this program does not \
         read. Copy or compile it again, with `mnxc` of the same version.",
    ),
    code(
        "bundle-0103",
        "what a bundle says about itself does not hold together",
        "The bytes are as they were written, but the manifest contradicts itself; the notes list every contradiction. Compile the \
         bundle again; if `mnxc` made it just so, please report it.",
    ),
    code(
        "codegen-0400",
        "no machine code could be made",
        "LLVM refused a kernel, or the linker its object. The plan was found sound before, so this is a fault of mnxc: please \
         report it with the command. An edited plan (`--plan`) with other tiles may get round it.",
    ),
    code(
        "codegen-0401",
        "ptxas could not assemble a GPU's code",
        "NVIDIA's ptxas, named by MNX_PTXAS or found in PATH, cannot be run or does not take the PTX; an old one knows no new GPUs. \
         Take the ptxas of CUDA 12.9 or later, or leave out `--cubin`: the driver compiles the PTX at the first run.",
    ),
    code(
        "import-0100",
        "a file to import cannot be read, or one to write cannot be written",
        "The system refused. Check the path, the permissions and the space on the disk.",
    ),
    code(
        "import-0101",
        "a file is not what an import expects",
        "The message says what was found and what was expected: a damaged or foreign file, a network that is no MedNeXt, a setting \
         of nnU-Net's plans or of MONAI's that mnx does not have. Nothing was written.",
    ),
    code(
        "import-0102",
        "tensors do not fit the network",
        "The notes list every tensor that is missing, has another shape, or belongs to no MedNeXt. As a rule the checkpoint is of \
         another network, or the names have a prefix. Nothing was written.",
    ),
    code(
        "import-0103",
        "an option of the import does not go with the files",
        "An option names something that the checkpoint does not have, or asks for what it contradicts. The message names both.",
    ),
    code(
        "import-0104",
        "a file holds several networks",
        "A checkpoint holds more than one dictionary of tensors, for example `state_dict` and `state_dict_ema`, or names \
         with several beginnings. `--key NAME` chooses a dictionary, `--prefix P` a beginning; the message lists what there \
         is.",
    ),
    code(
        "import-0105",
        "what surrounds a network cannot be followed",
        "The network itself is fine, but what belongs to it is not understood: a MONAI bundle in YAML, an ensemble. The \
         message names it and the way out.",
    ),
    code(
        "interp-0101",
        "a graph reads a value that nothing defines",
        "The reference interpreter met an operand or an output that no earlier op computes. The graph was edited by hand, or a pass \
         is wrong: `mnxc bisect` finds which.",
    ),
    code(
        "interp-0102",
        "an op's result has another type than the graph declares",
        "The reference interpreter computed another shape or element type than the text declares. The graph was edited by hand, or \
         a pass is wrong: `mnxc bisect` finds which.",
    ),
    code(
        "ir-0101",
        "the text of a graph cannot be read",
        "At this line and column something else was expected; the message says what. `mnxc list ops` shows how every op is written.",
    ),
    code(
        "ir-0102",
        "the text holds no whole graph",
        "A graph begins with `graph @name(...) -> (...) stage=... {`, returns its outputs and ends with `}`. One of these is \
         missing: the file is empty, cut short, or not a graph.",
    ),
    code(
        "ir-0103",
        "a parameter or state is declared twice",
        "Two `param` or `state` ops have the same key. One key is one named tensor, so it is declared once.",
    ),
    code(
        "ir-0104",
        "the returned values are not those of the header",
        "The line `return` has another number of values, or values of other types, than the graph's header declares. Make the two \
         agree.",
    ),
    code(
        "ir-0105",
        "a dispatch does not yield what is read outside of it",
        "The line `yield` of a dispatch lists exactly those of its values that later ops or the outputs read. Make the two agree.",
    ),
    code(
        "ir-0106",
        "a file holds several graphs where one is expected, or none of the name that is asked for",
        "Passes, views and exports take one graph. The message lists the graphs of the file: put the one that is meant into a file of \
         its own.",
    ),
    code(
        "ir-0107",
        "an op does not take these operands",
        "The shapes or element types of the operands do not fit the op; the notes show every operand's type. `mnxc list ops` says \
         what an op takes.",
    ),
    code(
        "ir-0108",
        "a rewriting rule made an op that its operands do not fit",
        "A pass replaced ops by one that cannot take these operands. The graph was edited by hand, or the pass is wrong; please \
         report the latter.",
    ),
    code(
        "ir-0111",
        "graphs, inputs, outputs or dispatches are named wrongly",
        "Names must begin with a letter and be unique (graphs in their file, the others in their graph), and a graph needs at least \
         one output.",
    ),
    code(
        "ir-0112",
        "a value is used before its definition, or defined twice",
        "Ops stand in the order in which they run, and each value has one definition. Move or rename the op that the message names.",
    ),
    code(
        "ir-0113",
        "an op is not allowed at this stage",
        "Each stage of a graph (model, graph, train, dispatch) knows certain ops, see `mnxc list ops`. Correct the stage in the header, or \
         run the pass that takes the graph to the next stage.",
    ),
    code("ir-0114", "a tensor is too large", "A tensor of this shape has more bytes than can be counted. Take a smaller patch or batch."),
    code(
        "ir-0115",
        "a derived weight reads an activation",
        "Before training, weight ops are evaluated once, when a bundle is made, so all their operands must be parameters or other \
         weights. At stages train and dispatch a weight op may also work on gradients.",
    ),
    code(
        "ir-0116",
        "a dispatch holds what does not belong there",
        "Dispatches exist at stage `dispatch` alone. Parameters, states and weight ops that depend on these alone stand outside them.",
    ),
    code(
        "ir-0117",
        "a dispatch is not in one piece",
        "The ops of a dispatch stand one behind the other. Move those of other dispatches out.",
    ),
    code(
        "ir-0118",
        "an op stands in no dispatch",
        "At stage `dispatch` every op that depends on an activation belongs to a dispatch. `form-dispatches` draws them.",
    ),
    code(
        "ir-0121",
        "a state or an update stands where nothing is trained",
        "States are memory that a run changes, and updates change it. Graphs of stage model and graph compute outputs from parameters \
         and inputs and leave everything as it was.",
    ),
    code(
        "ir-0122",
        "an update does not fit what it changes",
        "An update names a parameter or state that the graph declares, at most once, with a value of the same type.",
    ),
    code(
        "ir-0123",
        "graphs of one file disagree about a tensor",
        "The graphs of a file share parameters and states by key, so a key is a parameter or a state, and of one type, in all of them.",
    ),
    code(
        "ir-0131",
        "a dispatch does not hold the parts of its pattern",
        "A dispatch says what it is for (`dispatch @name : mlp {`), and each of its ops which part it plays (`as expand` behind the \
         type). A part is missing, stands twice, is unknown to the pattern or is played by the wrong op. `mnxc list patterns` shows \
         what each pattern needs; a dispatch that is to fit none is a `fragment`.",
    ),
    code(
        "ir-0132",
        "a part of a dispatch reads something else than its pattern says",
        "The parts of a dispatch are there, but one reads another value than it should, or a value that belongs inside is read \
         outside. Correct the operands, or make the dispatch a `fragment`.",
    ),
    code(
        "mnx-0101",
        "an output cannot be written",
        "The path is a directory, lies in a directory that does not exist, names an input or a second output, or the system refused \
         it (no space, no permission). Nothing was written.",
    ),
    code("mnx-0102", "standard output cannot be written", "The system refused to take the text, for example because the disk is full."),
    code(
        "mnx-0103",
        "the input tensor is missing or has another shape",
        "`mnx run` reads the tensors that the bundle names as its inputs, in the shapes it was compiled for; `mnx inspect` shows \
         both.",
    )
    .example("mnx inspect brain.mnxa | grep inputs"),
    code(
        "mnx-0104",
        "there is nothing to verify",
        "The bundle has no test vectors, or the device computes nothing. `mnxc compile` stores vectors where the reference \
         interpreter can keep up, with `--vectors always` anyway; `mnx refit` drops them, because they belong to the old weights.",
    ),
    code(
        "mnx-0105",
        "this device disagrees with the reference",
        "The outputs differ from the stored test vectors by more than is allowed. Try another target (`--isa`) or device to see \
         whether the code or the machine is at fault, and please report it with the output of `mnx devices`.",
    ),
    code(
        "mnx-0106",
        "the fold is not named, or does not exist",
        "The bundle holds the weights of several folds and one must be chosen with `--fold`; the message lists them.",
    ),
    code(
        "mnx-0107",
        "weights are not finite",
        "The new weights, or what is derived from them, hold NaN or infinities, as a diverged training leaves them. Take an earlier \
         checkpoint.",
    ),
    code(
        "mnx-0108",
        "nothing fits into a recording",
        "No kernel's buffers fit under `--limit`. Raise it, or compile the bundle for a smaller patch.",
    ),
    code("mnx-0109", "standard input cannot be read", "`mnx bench --paced` runs once for every line on standard input, which broke off."),
    code(
        "mnx-0110",
        "there is no such error code",
        "`mnx explain-error` was asked for a code that does not exist; without a code it lists them all.",
    ),
    code(
        "mnx-0201",
        "the null device computes nothing",
        "Segmenting needs results, and the null device gives none. Take `--device host`, or leave `--device` out.",
    ),
    code(
        "mnx-0202",
        "an output's name has an ending that is not written",
        "Segmentations and probabilities are written as .nii or .nii.gz, pictures as .png: give the output such a name.",
    ),
    code(
        "mnx-0203",
        "one name is given for two outputs",
        "Each output needs a name of its own; the message says which one was named twice.",
    ),
    code(
        "mnx-0204",
        "a folder must be the only input",
        "`-i FOLDER` segments every case of a folder; other inputs beside it make no sense. Run the single cases by \
         themselves.",
    ),
    code(
        "mnx-0205",
        "an option that does not go with this kind of input",
        "`--picture` and `--probabilities` are for one case, `--channels` for a folder of cases. `--save-probabilities` \
         saves those of every case of a folder.",
    ),
    code(
        "mnx-0206",
        "the input is a folder, the output is a file",
        "A folder of cases gives a folder of segmentations: name a folder, not a .nii.gz file, with `-o`.",
    ),
    code(
        "mnx-0207",
        "a folder cannot be read or made",
        "The system refused: the folder is not there, may not be read, or cannot be made where the output should go.",
    ),
    code(
        "mnx-0208",
        "a folder holds no cases",
        "Cases are NIfTI files called CASE_0000.nii.gz, CASE_0001.nii.gz, ..., one per channel; for a model of one channel \
         CASE.nii.gz will do, and `--channels t1,t2` takes other endings. The notes say what the folder holds.",
    ),
    code(
        "mnx-0209",
        "a folder holds files of other formats only",
        "mnx reads NIfTI. The message names the format and the command that converts such files.",
    ),
    code(
        "mnx-0210",
        "--channels does not fit the model",
        "`--channels` names one ending of file names per channel of the model, in the model's order, none empty and none \
         twice; `mnx inspect` shows the channels.",
    ),
    code(
        "mnx-0211",
        "the number of inputs is not the model's",
        "A model of several channels takes one `-i` per channel in the model's order, or one 4-D file; the message names the \
         channels where the bundle knows their names.",
    ),
    code(
        "mnx-0212",
        "cases of a folder failed",
        "Every case that failed is listed with its reason; the others were segmented. Run the same command with `--continue` \
         after mending them.",
    ),
    code(
        "mnx-0213",
        "the bundle gives no logits",
        "Patches overlap and their logits are averaged, so `mnx predict` needs a bundle without soft-max or arg-max: compile \
         it without `--output`.",
    ),
    code(
        "mnx-0214",
        "the bundle is not one of a patch segmentation",
        "`mnx predict` needs one float32 input and a first output with a score per class and voxel of the patch. `mnx run` \
         runs any bundle on a tensor.",
    ),
    code("mnx-0215", "a label that no segmentation can hold", "Segmentations have 16-bit labels: at most 65536 classes, none above 65535."),
    code(
        "mnx-0216",
        "the network's scores are not finite",
        "NaN or infinity came out of the network, or of its 16-bit storage on a GPU. Look for values far outside what the \
         model was trained on; `--check` names the first dispatch that has any, and `mnxc compile --precision f32` stores \
         float32 on GPUs.",
    ),
    code(
        "mnx-0217",
        "there is not enough memory for this work",
        "The activations of the network, or the volume on the model's grid, need more memory than the machine, its control \
         group or ulimit gives. Compare the spacings in the message: a wrong one multiplies the voxels; a smaller `--patch` \
         needs less memory for the network.",
    ),
    code(
        "mnx-0218",
        "threads cannot be started",
        "The system refused to start threads; a limit on processes (ulimit -u, a control group) is the usual reason. \
         `--threads 1` needs the fewest.",
    ),
    code("mnx-0221", "an output is a directory", "A file name is expected; the one given belongs to a directory."),
    code(
        "mnx-0222",
        "an output's directory does not exist",
        "mnx makes no directories for single files. Make it first, or correct the name.",
    ),
    code("mnx-0223", "an output would overwrite an input", "Input and output are the same file. Choose another name for the output."),
    code(
        "mnx-0224",
        "an output cannot be written",
        "The system refused: no permission, a read-only file system or a full disk. Nothing partial is left.",
    ),
    code("mnx-0231", "a folder is compared with a file", "`mnx evaluate` pairs two files, or two folders by the names of their files."),
    code("mnx-0232", "a segmentation or a folder cannot be read", "The system refused: it is not there or may not be read."),
    code("mnx-0233", "a case is there twice", "One folder holds CASE.nii and CASE.nii.gz, or the like; keep one of them."),
    code("mnx-0234", "a folder holds no volumes", "No .nii or .nii.gz file is in the folder."),
    code(
        "mnx-0235",
        "a folder holds volumes of other formats",
        "mnx reads NIfTI; the note names the format and the command that converts it.",
    ),
    code(
        "mnx-0302",
        "the classes to compare are not clear",
        "Two classes have one name or the same labels, a class holds the label that is left out, or there is no class at all. Name \
         classes with `--labels` or take a bundle's with `--bundle`.",
    )
    .example("mnx evaluate --pred seg --ref truth --labels whole=1+2+3,core=2+3"),
    code(
        "mnx-0303",
        "cases could not be compared",
        "The notes name each case and what is wrong with it; the others were compared and their tables written. The exit code is 1 \
         so that scripts notice.",
    ),
    code(
        "mnxc-0001",
        "an input file cannot be read",
        "The system refused, or the file is not a text of a sensible size. Configs, graphs and plans are UTF-8 text.",
    ),
    code(
        "mnxc-0002",
        "an output cannot be written",
        "The path is a directory, lies in a directory that does not exist, or the system refused it (no space, no permission). \
         Nothing is left half written.",
    ),
    code(
        "mnxc-0003",
        "the folder is not an imported one, or lacks the fold",
        "A folder that `mnxc import` makes holds config.toml and either weights.safetensors or one weights_fold_NAME.safetensors \
         for each fold. nnU-Net's own result folders are imported first.",
    )
    .example("mnxc import nnUNet_results/Dataset101/TRAINER__PLANS__CONFIG -o liver && mnxc compile liver"),
    code(
        "mnxc-0004",
        "there is no such error code",
        "`mnxc explain-error` was asked for a code that does not exist; without a code it lists them all.",
    ),
    code(
        "mnxc-0202",
        "weights are not finite",
        "Weights, or what is derived from them, hold NaN or infinities, as a diverged training leaves them. Take an earlier \
         checkpoint.",
    ),
    code(
        "mnxc-0301",
        "this mnxc was built without LLVM",
        "Code needs LLVM and MLIR 22; without them `mnxc` stops at the plan (`--to plan`). Build it with `--features llvm`, or take \
         a released one.",
    ),
    code(
        "mnxc-0302",
        "the graph does not reach, or is beyond, the stage that is wanted",
        "Each pass takes graphs of certain stages, and `--to` names a stage that the passes must reach. `mnxc list passes` shows \
         the stages of each.",
    ),
    code(
        "mnxc-0303",
        "an edited plan is for another target",
        "The plan's header names a target that is not compiled for. Add it to `--target`, or take it out of the plan.",
    ),
    code(
        "mnxc-0304",
        "no bundle can carry this network",
        "The graph, as a rule one written by hand, has ports that a bundle cannot describe; the notes list them all.",
    ),
    code(
        "mnxc-0401",
        "the reference interpreter cannot run the graph",
        "Test vectors and `mnxc bisect` need a run of the reference interpreter with finite results. The weights may hold NaN, or \
         the graph has several inputs; `--vectors none` compiles without test vectors.",
    ),
    code(
        "mnxc-0402",
        "a pass changes what the graph computes",
        "`mnxc bisect` found the pass, its first wrong patch and the first wrong value. Please report it with the graph; a slightly \
         larger `--tol` tells rounding from a fault.",
    ),
    code(
        "mnxc-0403",
        "the script of mnxc reduce cannot be used",
        "It cannot be run, or does not end with 0 on the whole graph, so that there is no fault to keep. It is given a candidate's \
         path and ends with 0 while the fault is there.",
    ),
    code(
        "mnxc-0501",
        "the runtime that measures is not there",
        "`mnxc tune` and `mnxc explain --measure` run `mnx bench`. Build `mnx`, or name it with `--runner`.",
    ),
    code("mnxc-0502", "mnx bench failed", "The notes show what `mnx` said; its own code explains the reason."),
    code(
        "mnxc-0503",
        "mnx bench did not answer as expected",
        "The two programs are of different versions, or `--runner` names something else. Build both from one source.",
    ),
    code("mnxc-0504", "the bundle has no code for this target", "Name one of the targets that the message lists, or compile for this one."),
    code(
        "mnxc-0510",
        "a file of tuned tiles is damaged",
        "A line is not what `mnxc tune` writes. Delete the line or the file; tuning makes it anew.",
    ),
    code(
        "mnxc-0511",
        "a tuned tile does not fit its kernel",
        "The entry names knobs that the kernel does not have, or values that the target cannot run. Delete the line; tuning makes \
         it anew.",
    ),
    code(
        "mnxc-0601",
        "the network has an op that ONNX cannot express",
        "Export the graph before the pass that made the op: give `export-onnx` the config, or a graph of stage model.",
    ),
    code(
        "mnxc-0602",
        "ONNX export is for float32 networks",
        "A value of the graph has another element type, or a run changes named memory. Export the config itself.",
    ),
    code(
        "model-0100",
        "the config is not valid TOML",
        "The place says where the text stops being TOML, most often at a missing quote or bracket.",
    ),
    code("model-0101", "a key is not known", "The message names the key that was probably meant. Misspelled keys are never passed over."),
    code("model-0102", "a value is of the wrong kind", "The message says what the key holds and what was expected."),
    code("model-0103", "a key is missing", "The network cannot be built without it; the message says what it should hold."),
    code(
        "model-0104",
        "two settings contradict each other",
        "Each is allowed by itself, but not together: the message names both and what is possible.",
    ),
    code("model-0105", "the config cannot be read", "The file is not there, may not be read, or is not UTF-8 text."),
    code(
        "model-0201",
        "the patch does not suit the network",
        "Extents are positive multiples of 16, three for a 3-D network and two for a 2-D one, because the network halves them four \
         times. The message names the nearest that do.",
    )
    .example("mnxc compile s.toml --seed 1 --patch 64,96,96"),
    code(
        "model-0202",
        "the bottleneck is a single voxel",
        "Group normalisation over one voxel has no variance. Take a larger patch or batch.",
    ),
    code(
        "pass-0201",
        "a pass names an output that the graph lacks",
        "`drop-training-heads{keep=NAME}` keeps one of the graph's outputs; the message lists them.",
    ),
    code(
        "plan-0200",
        "only a graph of stage dispatch is planned",
        "Run the passes first (`infer`), or end the pipeline with form-dispatches.",
    ),
    code(
        "plan-0201",
        "no kernel does what this dispatch holds",
        "The notes list its ops. `mnxc list strategies` says what can be launched; `form-dispatches` draws such boxes.",
    ),
    code(
        "plan-0202",
        "the text of a plan cannot be read",
        "At this line something else was expected; `mnxc compile --to plan` prints a plan to start from.",
    ),
    code(
        "plan-0203",
        "an edited plan names a dispatch that the graph lacks",
        "The plan is of another network, patch or version. Print it again with `--to plan`.",
    ),
    code(
        "plan-0204",
        "an edited plan has another kernel or knob than the dispatch",
        "Knobs and their values may be edited, strategies and names may not: the message says which the kernel has.",
    ),
    code(
        "plan-0205",
        "a tile cannot be run on this target",
        "A knob's value breaks a rule of the kernel or a limit of the machine, which the message states. Change it in the plan.",
    ),
    code(
        "plan-0206",
        "the buffers of a plan do not fit together",
        "One code for every way in which launches and their buffers can contradict each other: a buffer of another size or element \
         type than its kernel's, a port or argument without a buffer, an output that nothing writes, a weight of the wrong size. \
         mnxc draws buffers itself, so unless the graph was edited by hand this is a fault of mnxc: please report it.",
    ),
    code(
        "plan-0207",
        "code for CPUs stores float32 alone",
        "16-bit storage is for GPUs. Leave out `--precision`, or add a GPU to `--target`.",
    ),
    code(
        "plan-0208",
        "a plan contradicts itself",
        "The plan's verifier runs on every plan, made or read, and found a buffer outside the arena, misaligned or of the wrong length, a weight that is written, or a value that \
         is overwritten before its last reader. mnxc plans memory itself, so unless a plan was written by hand this is a fault of mnxc: please report it.",
    ),
    code(
        "runtime-0101",
        "no code of the bundle runs here",
        "The machine lacks an instruction set or is another GPU than those the bundle was compiled for; the message names what is \
         missing. Compile for this machine; `mnx devices` shows what it has.",
    )
    .example("mnxc compile s.toml --weights s.safetensors --target host,sm_80 -o s.mnxa"),
    code(
        "runtime-0102",
        "the device cannot give what was asked for",
        "There is no such device or driver, or it has too little memory. Choose another with `--device`, or a bundle of a smaller \
         patch.",
    ),
    code(
        "runtime-0103",
        "a tensor does not fit a port",
        "The bundle's inputs have fixed shapes, see `mnx inspect`; the message names both.",
    ),
    code(
        "runtime-0104",
        "results are not finite",
        "`--check` found NaN or infinities, and names the first dispatch that gave any. The weights are not finite, the input is \
         extreme, or 16-bit storage overflows: compare with `--device host`.",
    ),
    code(
        "upkern-0301",
        "a tensor is freshly initialised",
        "A warning: with `--allow-mismatch`, tensors that the source network lacks begin afresh.",
    ),
    code("upkern-0302", "a tensor is left out", "A warning: the new network has no tensor of this name."),
    code(
        "volume-0101",
        "a volume cannot be opened, read or written",
        "The system refused: the file is not there, may not be read, or the disk is full.",
    ),
    code(
        "volume-0102",
        "the file is not NIfTI",
        "mnx reads NIfTI-1 and NIfTI-2 (.nii, .nii.gz). Convert other formats first, for example with SimpleITK, dcm2niix (DICOM) \
         or mri_convert (.mgz).",
    ),
    code(
        "volume-0103",
        "a kind of volume that is not handled",
        "A proper file, but of colour or complex voxels, of header pairs (.hdr/.img), or of another kind that the message names.",
    ),
    code(
        "volume-0104",
        "a volume is damaged",
        "The header contradicts itself or promises more bytes than there are, as a copy that broke off does. Copy the file again.",
    ),
    code(
        "volume-0105",
        "a volume holds NaN or infinite voxels",
        "Results would be meaningless around them. Clean the file, or let `--nan-to-num` replace them.",
    ),
    code(
        "volume-0106",
        "the number of channels is not the model's",
        "A model of several channels takes one file per channel in the model's order, or one 4-D file; `mnx inspect` names them.",
    ),
    code(
        "volume-0107",
        "two grids differ",
        "Shape, spacing, orientation or origin of two files that belong together differ; the message says in what. Nothing is \
         resampled silently: bring them to one grid first.",
    ),
    code(
        "volume-0108",
        "a setting cannot be met for this volume",
        "Spacing, orientation, patch or step does not go with the volume; the message names the setting and what is possible.",
    ),
    code(
        "volume-0109",
        "there is not enough memory",
        "The volume at the model's spacing needs more memory than can be had. Compare the file's spacing with the model's: a wrong \
         unit in the header multiplies the voxels.",
    ),
    code(
        "weights-0100",
        "a weights file cannot be opened or read",
        "The system refused: the file is not there, is a directory, or may not be read.",
    ),
    code(
        "weights-0101",
        "the file is not a safetensors file",
        "The file is damaged, of another format, or holds element types that are not read (F32, F64, F16 and BF16 are). `mnxc \
         import` reads PyTorch's files (.pth, .pt, .ckpt) and makes a safetensors file.",
    )
    .example("mnxc import weights.pth -o net && mnxc compile net"),
    code(
        "weights-0102",
        "weights do not fit the network",
        "The notes list every tensor that is missing or has another shape. As a rule the file is of another network or size, or the \
         config has another flavour, number of channels or classes.",
    ),
];
