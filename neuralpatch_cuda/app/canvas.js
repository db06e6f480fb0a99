// The body of a function that Gradio calls when the canvas is there; see `gr.HTML` for what it is given.
// `props.value` is { photograph: address, strokes: PNG as a data URL, or null }: the first is read, the second written.

const COLOUR = "rgb(255, 32, 32)";
const REMEMBERED = 30; // strokes that can be undone
const MOST_ZOOM = 8;

const find = selector => element.querySelector(selector);
const [view, sheet, photograph, canvas, brush] = [".view", ".sheet", "img", "canvas", ".brush"].map(find);
const size = find("[data-size]");
const paint = canvas.getContext("2d", { willReadFrequently: true });
let tool = "brush";
let zoom = 1;
let past = [], future = []; // pictures of the paint
let last = null; // where the brush is while it paints

function choose(name) {
    tool = name;
    sheet.className = `sheet ${name === "hand" ? "hand" : "painting"}`;
    element.querySelectorAll("[data-tool]").forEach(each => each.classList.toggle("on", each.dataset.tool === name));
}

function fitted() { // width at which the whole photograph is seen
    const room = 0.6 * window.innerHeight - 4; // as in the style
    return Math.min(view.clientWidth, room * canvas.width / canvas.height);
}

function enlarge(factor, x = view.clientWidth / 2, y = view.clientHeight / 2) {
    const before = zoom;
    zoom = Math.min(MOST_ZOOM, Math.max(1, zoom * factor));
    sheet.style.width = `${fitted() * zoom}px`;
    view.scrollLeft = (view.scrollLeft + x) * zoom / before - x;
    view.scrollTop = (view.scrollTop + y) * zoom / before - y;
}

function snapshot() {
    return paint.getImageData(0, 0, canvas.width, canvas.height);
}

function remember() {
    past.push(snapshot());
    past = past.slice(-REMEMBERED);
    future = [];
}

function report() { // what is painted now
    const buttons = { undo: past.length, redo: future.length };
    for (const name in buttons) find(`[data-do=${name}]`).disabled = !buttons[name];
    props.value = { ...props.value, strokes: canvas.toDataURL("image/png") };
    trigger("input");
}

function travel(from, to) { // undo, or redo
    if (!from.length) return;
    to.push(snapshot());
    paint.putImageData(from.pop(), 0, 0);
    report();
}

const actions = {
    undo: () => travel(past, future),
    redo: () => travel(future, past),
    clear: () => { remember(); paint.clearRect(0, 0, canvas.width, canvas.height); report(); },
    out: () => enlarge(1 / 1.5),
    in: () => enlarge(1.5),
    fit: () => enlarge(0),
};

function place(event) { // of the pointer, in pixels of the canvas
    const box = canvas.getBoundingClientRect();
    const scale = canvas.width / box.width;
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale, scale };
}

function strokeTo({ x, y, scale }) {
    paint.globalCompositeOperation = tool === "eraser" ? "destination-out" : "source-over";
    paint.strokeStyle = COLOUR;
    paint.lineCap = paint.lineJoin = "round";
    paint.lineWidth = size.value * scale;
    paint.beginPath();
    paint.moveTo(last.x, last.y);
    paint.lineTo(x, y);
    paint.stroke();
    last = { x, y };
}

function follow(event) { // show the brush
    const box = sheet.getBoundingClientRect();
    brush.hidden = tool === "hand";
    brush.style.width = brush.style.height = `${size.value}px`;
    brush.style.left = `${event.clientX - box.left}px`;
    brush.style.top = `${event.clientY - box.top}px`;
}

canvas.addEventListener("pointerdown", event => {
    if (event.button || tool === "hand") return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    remember();
    last = place(event);
    strokeTo(last);
});
canvas.addEventListener("pointermove", event => {
    follow(event);
    if (last) event.getCoalescedEvents().concat(event).forEach(each => strokeTo(place(each)));
    else if (tool === "hand" && event.buttons && event.pointerType === "mouse") {
        view.scrollLeft -= event.movementX;
        view.scrollTop -= event.movementY;
    }
});
for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
        if (last) { last = null; report(); }
    });
}
canvas.addEventListener("pointerleave", () => { brush.hidden = true; });
view.addEventListener("wheel", event => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const box = view.getBoundingClientRect();
    enlarge(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.clientX - box.left, event.clientY - box.top);
}, { passive: false });
element.addEventListener("click", event => {
    const button = event.target.closest("button");
    if (button?.dataset.tool) choose(button.dataset.tool);
    if (button?.dataset.do) actions[button.dataset.do]();
});
element.addEventListener("keydown", event => {
    const tools = { b: "brush", e: "eraser", h: "hand" };
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
        if (key === "z") actions[event.shiftKey ? "redo" : "undo"]();
        else if (key === "y") actions.redo();
        else return;
        event.preventDefault();
    } else if (tools[key]) choose(tools[key]);
});
new ResizeObserver(() => { if (canvas.width) enlarge(1); }).observe(view);

let shown = null;
async function show() {
    const { photograph: address, strokes } = props.value ?? {};
    if (!address || address === shown) return;
    shown = address;
    photograph.src = address;
    await photograph.decode();
    [canvas.width, canvas.height] = [photograph.naturalWidth, photograph.naturalHeight];
    [past, future] = [[], []];
    if (strokes) {
        const picture = new Image();
        picture.src = strokes;
        await picture.decode();
        paint.drawImage(picture, 0, 0);
    }
    zoom = 1;
    enlarge(1);
    report();
}
choose(tool);
watch("value", show);
show();
