"use strict";
(function () {
  var box = document.getElementById("search"), rows = document.querySelectorAll(".row"), timer = 0;
  function plain(text) { return text.normalize("NFKD").replace(/[\u0300-\u036f]/g, "").toLowerCase(); }
  var texts = null;
  function find() {
    var words = plain(box.value).split(/\s+/).filter(Boolean);
    if (!texts) texts = Array.prototype.map.call(rows, function (row) { return plain(row.textContent); });
    for (var i = 0; i < rows.length; i++)
      rows[i].hidden = !words.every(function (word) { return texts[i].indexOf(word) >= 0; });
  }
  box.addEventListener("input", function () { clearTimeout(timer); timer = setTimeout(find, 120); });
})();
