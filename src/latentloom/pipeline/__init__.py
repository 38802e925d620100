"""The pipeline: a stack behind diffusers' calling conventions."""

from latentloom.pipeline.video_ldm import VideoLDMPipeline, VideoLDMPipelineOutput

__all__ = ["VideoLDMPipeline", "VideoLDMPipelineOutput"]
