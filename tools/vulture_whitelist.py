"""Names that `make lint` (vulture) takes for unused, and why they are not. Never imported."""

# Called by name: by Python, ROS and launch.
_.__getattr__
_.generate_launch_description
_.on_configure
_.on_cleanup
_.on_shutdown
_.real_time_priority  # a parameter, read with the others
_.check_health  # Ray Serve
_.halt  # behaviour trees

# Read by other libraries, of objects that are theirs.
_.normalizer  # tokenizers
_.pre_tokenizer
_.whitespace_split  # shlex
_.formatter_class  # argparse
_.StartElementHandler  # expat
_.EndElementHandler
_.EntityDeclHandler
_.hardware_id  # diagnostic_msgs, rcl_interfaces
_.additional_constraints
_.dynamic_typing
_.integer_range
_.floating_point_range
_.armature  # MuJoCo
_.biasprm
_.conaffinity
_.cone
_.contype
_.diffuse
_.extent
_.fixedcamid
_.forcelimited
_.forcerange
_.frictionloss
_.fusestatic
_.gainprm
_.gravcomp
_.impratio
_.inertia
_.inertiagrouprange
_.integrator
_.offsamples
_.shadowsize
_.smoothnormal
_.specular
_.timestep
_.userface
_.uservert
_.zfar
_.znear

_.pix_fmt  # av
_.thread_count

# Written to reports, as fields of a record.
_.look_error_m
_.looked_right

# Records of MCAP files, written by the library mcap; hooks of the YAML writer.
_.message_index_length
_.ignore_aliases

# Adapters by peft (train/adapters.py), for users of the library.
_.lay
_.take_up

# Fields of visualization_msgs/Marker.
_.colors
_.lifetime
sock  # http.client: connects by itself only where there is none (remote/openvla_client)

# Called by mkdocs by their names (tools/site_hooks.py).
on_config
on_files
on_page_markdown
separator

# Long tasks in the twin, in process (benchmarks/long_tasks.py).
follow_long
