"""The page: what is on it, and what its buttons do."""

from __future__ import annotations

import asyncio
import html
import shlex
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import FileData
from gradio.events import api
from PIL import Image
from torch import Tensor

from neuralpatch_cuda.app.canvas import Painted, canvas, strokes_of, value_of
from neuralpatch_cuda.app.engine import Engine
from neuralpatch_cuda.app.pictures import reduced, tinted, with_scale
from neuralpatch_cuda.app.session import Job, Session, Sessions
from neuralpatch_cuda.app.settings import OF_MASK_FILES, PRESETS, STANDARD, Settings, as_typed
from neuralpatch_cuda.app.uploads import take_uploads_only
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import NeuralPatchError
from neuralpatch_cuda.evaluation.figures import contact_sheet
from neuralpatch_cuda.imaging.files import left_out
from neuralpatch_cuda.imaging.images import Array
from neuralpatch_cuda.imaging.masks import to_hole
from neuralpatch_cuda.inpainter import InpaintInfo, Progress, ScaleInfo

REFRESH = 0.25
"""Seconds between two looks at a run."""

VARIATION = 0.1
"""Noise of the second and later fills of a hole."""

CANCELLED = "Cancelled."

REFUSED = "That does not work"
"""Above what is wrong."""

KEPT = 3600
"""Seconds that a file is kept for its user, who may also close the page before."""

Updates = dict[Any, Any]
"""New values of components."""

GONE = ["gone"]
CSS = """
.gone { display: none; }
#status progress { width: 100%; accent-color: var(--color-accent); }
#preview img, #compare img { max-height: 70vh; }
"""

PASTE = """<script>
addEventListener("paste", event => {
    const input = document.querySelector("#photograph input[type=file]");
    if (!input || !event.clipboardData.files.length) return;
    input.files = event.clipboardData.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
});
</script>"""
"""A pasted photograph is taken as if it had been dropped."""


class Page:
    """Takes a photograph, lets a hole be painted, and shows it being filled.

    A user is in one of three stages: painting, running, done. Each has its own picture and buttons.
    """

    def __init__(self, engine: Engine, sessions: Sessions, config: InpaintConfig) -> None:
        """Lay the page out.

        Args:
            engine: fills.
            sessions: of the users.
            config: what the options begin as.
        """
        self._engine, self._sessions = engine, sessions
        with gr.Blocks(title="neuralpatch", analytics_enabled=False, delete_cache=(60, KEPT)) as self.blocks:
            gr.Markdown("# neuralpatch\nDrop a photograph, paint over what should go, and see it filled.")
            with gr.Row():
                with gr.Column(scale=3, min_width=320):
                    self._lay_out_stage()
                with gr.Column(scale=2, min_width=320):
                    self._lay_out_settings(config)
            self._connect()

    def _lay_out_stage(self) -> None:
        self._upload = gr.File(label="Photograph: drop, paste or choose a file", elem_id="photograph", height=140)
        with gr.Column(elem_classes=GONE) as self._painting:  # not invisible, which would lose what was painted
            self._title = gr.Markdown()
            self._canvas = canvas(elem_id="canvas")
        self._preview = gr.Image(
            label="Being filled", elem_id="preview", type="filepath", buttons=["fullscreen"], visible=False
        )
        self._compare = gr.ImageSlider(label="Before and after", elem_id="compare", type="filepath", visible=False)
        self._status = gr.HTML(elem_id="status")
        with gr.Row():
            self._fill = gr.Button("Fill", variant="primary", elem_id="fill", visible=False)
            self._cancel = gr.Button("Cancel", variant="stop", elem_id="cancel", visible=False)
            self._again = gr.Button("Fill again, differently", elem_id="again", visible=False)
            self._go_on = gr.Button("Paint on from here", elem_id="go-on", visible=False)
            self._back = gr.Button("Change the hole", elem_id="back", visible=False)
        with gr.Row():
            self._download = gr.DownloadButton(
                "Download the photograph", variant="primary", elem_id="download", visible=False
            )
            self._download_mask = gr.DownloadButton("Download the mask", elem_id="download-mask", visible=False)
        with gr.Accordion("How it was filled", open=False, visible=False) as self._record:
            self._sheet = gr.Image(
                label="Scale by scale", type="filepath", elem_id="sheet", buttons=["download", "fullscreen"]
            )
            self._command = gr.Code(label="The same on the command line", language="shell", elem_id="command")

    def _lay_out_settings(self, config: InpaintConfig) -> None:
        self._settings = Settings(config)
        with gr.Accordion("Mask from a file", open=False):
            self._mask_upload = gr.File(label="White is filled, as well as what is painted", elem_id="mask", height=140)
            self._invert = gr.Checkbox(config.invert_mask, label="Fill the black part instead")
            self._resize = gr.Checkbox(config.resize_mask, label="Fit a mask of another size to the photograph")
            self._no_mask = gr.Button("Remove the mask", visible=False)

    def _connect(self) -> None:
        settings = self._settings
        light: dict[str, Any] = {
            **{"concurrency_limit": None, "api_visibility": "private", "show_progress": "hidden"},
            "preprocess": False,  # files stay files
        }
        heavy = light | {"concurrency_limit": 1, "concurrency_id": "fill", "show_progress": "minimal"}
        everything = [
            *(self._painting, self._preview, self._compare, self._status, self._fill, self._cancel, self._again),
            *(self._go_on, self._back, self._download, self._download_mask, self._record, self._sheet, self._command),
            *(settings.controls[name] for name in ("seed", "noise")),
        ]
        to_paint = [*everything, self._canvas, self._title, self._upload, self._mask_upload, self._no_mask]
        painted = [self._canvas, *settings.inputs]

        api(self.fill_files, api_name="fill", concurrency_limit=1, concurrency_id="fill")  # the first of this name
        self._upload.upload(self.open, self._upload, to_paint, **(light | {"show_progress": "full"}))
        mask_file = [self._canvas, self._mask_upload, self._invert, self._resize]
        self._mask_upload.upload(self.open_mask, mask_file, to_paint, **light)
        self._no_mask.click(self.remove_mask, self._canvas, to_paint, **light)
        self._go_on.click(self.go_on, None, to_paint, **light)
        self._back.click(self.back, None, everything, **light)

        gr.on(
            [self._canvas.input, *(control.change for control in settings.controls.values())],
            self.predict,
            painted,
            [settings.quality],
            trigger_mode="always_last",
            **light,
        )
        begun = (
            self._fill.click(self.begin, painted, everything, **light),
            self._again.click(self.begin_again, settings.inputs, everything, **light),
        )
        for each in begun:
            each.success(self.fill, None, everything, show_progress_on=self._status, **heavy)
        self._cancel.click(self.cancel, None, everything, **light)
        self.blocks.unload(self.leave)
        take_uploads_only(self.blocks)

    # Stages

    def _stage(self, stage: str) -> Updates:
        """What is seen while a user paints, while a hole is filled, and when that is done."""
        painting, running, done = (stage == name for name in ("painting", "running", "done"))
        return {
            self._painting: gr.update(elem_classes=[] if painting else GONE),
            self._preview: gr.update(visible=running),
            self._compare: gr.update(visible=done),
            self._record: gr.update(visible=done),
            self._fill: gr.update(visible=painting),
            self._cancel: gr.update(visible=running),
            **{
                button: gr.update(visible=done)
                for button in (self._again, self._go_on, self._back, self._download, self._download_mask)
            },
        }

    def _to_paint(self, session: Session, painted: Painted = None) -> Updates:
        """The canvas with the photograph, its mask in red, and what was painted before."""
        assert session.photograph is not None and session.picture is not None
        picture = session.picture if session.mask is None else tinted(session.picture, session.mask)
        shown = session.write_picture(picture, "photograph.jpg")
        width, height = session.photograph.size
        return self._stage("painting") | {
            self._canvas: value_of(shown, (painted or {}).get("strokes")),
            self._title: f"**{_escaped(session.name)}**, {width} x {height} px: paint over what should go.",
            self._no_mask: gr.update(visible=session.mask is not None),
            self._status: "",
        }

    # Events, in the order in which a user comes to them

    def open(self, request: gr.Request, file: Any) -> Updates:
        """A photograph was dropped."""
        session = self._session(request)
        try:
            session.open(*_file(file))
        except NeuralPatchError as error:
            return self._refused(error)
        return self._to_paint(session) | {self._upload: None}

    def open_mask(self, request: gr.Request, painted: Painted, file: Any, invert: bool, resize: bool) -> Updates:
        """A mask was dropped."""
        session = self._session(request)
        try:
            session.open_mask(*_file(file), invert, resize)
        except NeuralPatchError as error:
            return self._refused(error)
        return self._to_paint(session, painted) | {self._mask_upload: None}

    def _refused(self, error: NeuralPatchError) -> Updates:
        """Say why a file cannot be used, and let another one be dropped."""
        gr.Warning(html.escape(str(error)), title=REFUSED)
        return {self._upload: None, self._mask_upload: None}

    def remove_mask(self, request: gr.Request, painted: Painted) -> Updates:
        session = self._session(request)
        session.mask = None
        return self._to_paint(session, painted)

    def predict(self, request: gr.Request, painted: Painted, *values: Any) -> Updates:
        """The hole or an option has changed: how long will it take?"""
        session = self._session(request)
        try:
            presets = self._settings.presets(values)
            mask = session.whole_mask(self._strokes(session, painted))
            hole = _hole(mask, presets[STANDARD])
            plans = {name: self._engine.forecast.plan(config, hole) for name, config in presets.items()}
            choices = [(f"{name}: {_about(plan.seconds)}", name) for name, plan in plans.items()]
        except NeuralPatchError:  # nothing to be filled yet, or an option that is being typed
            choices = [(name, name) for name in PRESETS]
        return {self._settings.quality: gr.update(choices=choices)}

    def begin(self, request: gr.Request, painted: Painted, *values: Any) -> Updates:
        """The hole is to be filled, as it and the options are now."""
        session = self._session(request)
        with _told():
            config = self._settings.config(values)
            return self._ask(session, Job(session.whole_mask(self._strokes(session, painted)), config))

    def begin_again(self, request: gr.Request, *values: Any) -> Updates:
        """The same hole is to be filled in another way: with another seed, and with noise, which it is the seed of."""
        session = self._session(request)
        with _told():
            config = self._settings.config(values)
        changes = {"seed": config.seed + 1, "noise": config.noise or VARIATION}
        assert session.job is not None
        job = Job(session.job.mask, InpaintConfig(**(dict(config) | changes)))
        return self._ask(session, job) | {self._settings.controls[name]: value for name, value in changes.items()}

    def _ask(self, session: Session, job: Job) -> Updates:
        assert session.picture is not None
        session.ask(job)
        start = session.write_picture(tinted(session.picture, job.mask), "preview.jpg")
        return self._stage("running") | {
            self._preview: gr.update(value=str(start), visible=True),
            self._status: "Waiting",
        }

    async def fill(self, request: gr.Request) -> AsyncIterator[Updates]:
        """It is this user's turn, who may have cancelled meanwhile, and asked for something else."""
        session = self._session(request)
        try:
            while (job := session.take()) is not None:
                async for updates in self._run(session, job):
                    yield updates
        except NeuralPatchError as error:
            yield self._stage("painting") | {self._status: ""}
            raise _error(error) from None

    async def _run(self, session: Session, job: Job) -> AsyncIterator[Updates]:
        photograph, picture = session.photograph, session.picture
        assert photograph is not None and picture is not None
        plan = await asyncio.to_thread(self._engine.forecast.plan, job.config, _hole(job.mask, job.config))
        started = seen = time.monotonic()
        yield {self._status: _course("Beginning", 0, plan.seconds)}
        async with aclosing(self._engine.fill(photograph, job.mask, job.config, job.cancelled)) as events:
            async for event in events:
                if job.cancelled.is_set():
                    break
                elapsed = time.monotonic() - started
                if isinstance(event, Progress):
                    if time.monotonic() - seen >= REFRESH:
                        seen = time.monotonic()
                        yield {self._status: _course(_place(event), elapsed, plan.left(event, elapsed))}
                elif isinstance(event, ScaleInfo):
                    picture = await asyncio.to_thread(with_scale, picture, photograph.size, event)
                    shown = await asyncio.to_thread(session.write_picture, picture, "preview.jpg")
                    yield {self._preview: str(shown)}
                else:
                    session.result, info = event
                    self._engine.forecast.learn(plan, info.scales, info.seconds)
                    yield await asyncio.to_thread(self._done, session, job, info)
        if job.cancelled.is_set():  # Gradio tells once more what it was told last, which must not be this fill's course
            yield {self._status: "Waiting" if session.wanted else CANCELLED}

    def _done(self, session: Session, job: Job, info: InpaintInfo) -> Updates:
        before = session.picture
        assert before is not None and session.result is not None
        result = session.write_result()
        missing = left_out(result.name, session.result)
        mask = session.write_picture(job.mask, f"{Path(session.name).stem}_mask.png")
        pictures = [session.write_picture(each, "picture.png") for each in (before, reduced(session.result))]
        sheet = session.write_picture(_sheet(info.scales), "scales.png")
        return self._stage("done") | {
            self._compare: gr.update(value=tuple(map(str, pictures)), visible=True),
            self._download: gr.update(value=str(result), visible=True),
            self._download_mask: gr.update(value=str(mask), visible=True),
            self._sheet: str(sheet),
            self._command: _command(session.name, mask.name, result.name, job.config),
            self._status: f"Filled in {_about(info.seconds)}. {html.escape(missing or '')}".rstrip(),
        }

    def cancel(self, request: gr.Request) -> Updates:
        """The fill is not wanted any more.

        Gradio's own way of cancelling comes too late between two updates, and too early for what is asked for next.
        """
        self._session(request).cancel()
        return self._stage("painting") | {self._status: CANCELLED}

    def back(self) -> Updates:
        return self._stage("painting") | {self._status: ""}

    def go_on(self, request: gr.Request) -> Updates:
        """Another hole is to be filled in the result."""
        session = self._session(request)
        session.go_on()
        return self._to_paint(session)

    def leave(self, request: gr.Request) -> None:
        """The page was closed."""
        self._sessions.forget(request.session_hash or "")

    async def fill_files(
        self, request: gr.Request, image: FileData, mask: FileData, options: dict[str, Any] | None = None
    ) -> FileData:
        """Fill the white parts of a mask in a photograph.

        Args:
            image: the photograph, uploaded before.
            mask: of its size.
            options: those of `InpaintConfig`, by name.

        Returns:
            The filled photograph, in the format of `image`.
        """
        session = self._sessions.new()
        try:
            config = self._settings.checked(options or {})
            session.open(*_file(image))
            session.open_mask(*_file(mask), config.invert_mask, config.resize_mask)
            mask_alone = InpaintConfig(**(dict(config) | dict.fromkeys(OF_MASK_FILES, False)))
            assert session.photograph is not None
            filling = self._engine.fill(session.photograph, session.whole_mask(None), mask_alone)
            async with aclosing(filling) as events:
                async for event in events:
                    if isinstance(event, tuple):
                        session.result, _ = event
        except NeuralPatchError as error:
            raise gr.Error(str(error), print_exception=False) from None
        path = session.write_result()
        return FileData(path=str(path), orig_name=path.name)

    def _session(self, request: gr.Request) -> Session:
        return self._sessions.of(request.session_hash or "")

    def _strokes(self, session: Session, painted: Painted) -> Array | None:
        return None if session.picture is None else strokes_of(painted, session.picture.size)


def _file(file: Any) -> tuple[Path, str]:
    """Where an uploaded file lies, which Gradio has made sure of, and what its user calls it."""
    path = Path(file["path"])
    return path, file.get("orig_name") or path.name


@contextmanager
def _told() -> Iterator[None]:
    """Tell the user of what is wrong with the input."""
    try:
        yield
    except NeuralPatchError as error:
        raise _error(error) from None


def _error(error: Exception) -> gr.Error:
    return gr.Error(html.escape(str(error)), title=REFUSED, print_exception=False)


def _hole(mask: Image.Image, config: InpaintConfig) -> Tensor:
    return to_hole(mask, (mask.height, mask.width), dilate=config.mask_dilate)


def _escaped(text: str) -> str:
    """As Markdown shows it."""
    return "".join(f"&#{ord(c)};" if c in "&<>\"'*_`[]\\#!" else c for c in text)


def _about(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / 60:.0f} min"


def _place(progress: Progress) -> str:
    scale = f"scale {progress.scale + 1} of {progress.scales}"
    window = f"window {progress.window + 1} of {progress.windows}, " if progress.windows > 1 else ""
    return f"{window}{scale}, iteration {progress.iteration + 1} of {progress.iterations}".capitalize()


def _course(text: str, elapsed: float, left: float) -> str:
    return f"<progress max='{elapsed + left:.2f}' value='{elapsed:.2f}'></progress> {text}, {_about(left)} left"


def _sheet(scales: list[ScaleInfo]) -> Image.Image:
    captions = [f"window {s.window + 1}, scale {s.scale + 1}\n{s.size[1]} x {s.size[0]} px" for s in scales]
    return contact_sheet([s.image for s in scales], captions, columns=min(4, len(scales)), tile=400)


def _command(name: str, mask: str, result: str, config: InpaintConfig) -> str:
    """What does the same on the command line."""
    default = InpaintConfig()
    words = ["neuralpatch", "inpaint", name, mask, "-o", result]
    for option, value in config:
        if value != getattr(default, option):
            flag = option.replace("_", "-")
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                words += [f"--{flag}", as_typed(value)]
    return shlex.join(words)
