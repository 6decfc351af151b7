"""An output container opened with all its streams, tags and chapters: for a rehearsal in memory, and for the run."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import Any

import av

from fmanet_cli.errors import OptionError
from fmanet_cli.video.read.describe import codec_name, is_cover
from fmanet_cli.video.write.codecs import VideoSettings, add_encoded_stream, add_video_stream
from fmanet_cli.video.write.plan import OutputPlan
from fmanet_cli.video.write.projection import marked
from fmanet_cli.video.write.stream_copier import Route
from fmanet_cli.video.write.stream_plan import add_planned
from fmanet_cli.video.write.tags import kept_tags, muxer_options, shifted_chapters, stream_tags


def open_output(
    target: Any,
    plan: OutputPlan,
    settings: VideoSettings,
    opened_input: av.container.InputContainer | None,
    *,
    shift_seconds: Fraction = Fraction(0),
    encoded: av.VideoStream | None = None,
) -> tuple[av.container.OutputContainer, av.VideoStream, dict[int, Route]]:
    """Open what is planned and write its header.

    Args:
        target: a name, or a file object for memory and pipes.
        plan: what goes into it.
        settings: of its video.
        opened_input: the source, where other streams are planned.
        shift_seconds: what is added to the times of chapters.
        encoded: a stream whose packets will be written; None when they come from an encoder.

    Returns:
        The container, its video stream, and the routes of the other streams by index of the source's.

    Raises:
        OptionError: the encoder does not know an option.
    """
    container, like, streams = plan.container, plan.like, plan.streams
    assert container is not None
    sources: dict[int, Any] = {}
    if opened_input is not None:
        sources = {stream.index: stream for stream in opened_input.streams}
    planned_sources = [sources[planned.index] for planned in streams.streams]
    options = muxer_options(
        container,
        like,
        time_base=settings.time_base,
        sound=[
            (planned.codec or codec_name(source), source.rate)
            for planned, source in zip(streams.streams, planned_sources, strict=True)
            if source.type == "audio"
        ],
        is_file=isinstance(target, str),
        has_cover=any(is_cover(source) for source in planned_sources),
        has_projection=bool(plan.marks.mapping),
    )
    output = av.open(target, "w", format=container.name, container_options=options)
    try:
        if encoded is None:
            video = add_video_stream(output, settings)
        else:
            with marked(encoded, settings, container, plan.marks) as template:
                video = add_encoded_stream(output, settings, template)
        if plan.display_matrix is not None:
            video.set_display_matrix(list(plan.display_matrix))
        routes = {
            planned.index: Route(planned, source, add_planned(output, planned, source))
            for planned, source in zip(streams.streams, planned_sources, strict=True)
        }
        for attachment in streams.attachments:
            output.add_attachment(attachment.name, attachment.mime_type, attachment.content)
        if container.holds_metadata:
            output.metadata.update(kept_tags(like))
            video.metadata.update(stream_tags(like.stream_metadata, container.name))
        video.disposition = av.stream.Disposition(like.disposition)
        if container.holds_chapters and like.chapters:
            output.set_chapters(shifted_chapters(like, shift_seconds))
        output.start_encoding()
        if encoded is None and (refused := dict(video.codec_context.options)):
            raise OptionError(f"{settings.codec.name} has no option {', '.join(sorted(refused))}")
    except BaseException:
        with contextlib.suppress(Exception):
            output.close()
        raise
    return output, video, routes
