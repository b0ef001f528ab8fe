"""Parts of stage 2: one target judged, drifts grouped into incidents. All pure."""
