"""Files that teams already have (compose files, Kubernetes manifests), read as Services.

Readers are pure: the files of one commit in, `Draft`s and findings out. A draft is a Service
in the making that knows at which line of which file each of its values stands; whether it
is a right Service is judged by the same rules as a Service file
(`infrastructure.desired_state`). `service_file` writes drafts as such files.
"""
